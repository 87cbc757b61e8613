internal import Glibc

/// The system's words for an errno.
func text(of number: Int32) -> String { String(cString: strerror(number)) }
