internal import API
internal import Foundation

/// JSON of values of the API.
enum WireJSON {
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        [UInt8](try WireCoding.encoder().encode(value))
    }
}
