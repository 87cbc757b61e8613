internal import Synchronization

/// A queue from several producers to one consumer.
///  `post` never waits and is for threads; `send` waits while the queue is long, so that events do
/// not pile up behind a slow terminal.
final class Mailbox<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var receiver: CheckedContinuation<Element, Never>?
        var senders: [CheckedContinuation<Void, Never>] = []
        var isClosed = false
    }

    private static var capacity: Int { 64 }
    private let state = Mutex(State())

    /// Puts an element in at once.
    func post(_ element: Element) {
        let receiver = state.withLock { state -> CheckedContinuation<Element, Never>? in
            guard let receiver = state.receiver else {
                state.elements.append(element)
                return nil
            }
            state.receiver = nil
            return receiver
        }
        receiver?.resume(returning: element)
    }

    /// Puts an element in and waits until the queue is short enough, or closed.
    func send(_ element: Element) async {
        post(element)
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.isClosed || state.elements.count < Self.capacity { return true }
                state.senders.append(continuation)
                return false
            }
            if isFree { continuation.resume() }
        }
    }

    /// Waits for the next element. For one consumer, which must not be cancelled while it waits.
    func next() async -> Element {
        await withCheckedContinuation { continuation in
            let (element, senders) = state.withLock { state in
                guard !state.elements.isEmpty else {
                    state.receiver = continuation
                    return (Element?.none, [CheckedContinuation<Void, Never>]())
                }
                let element = state.elements.removeFirst()
                guard state.elements.count < Self.capacity else { return (element, []) }
                defer { state.senders = [] }
                return (element, state.senders)
            }
            senders.forEach { $0.resume() }
            if let element { continuation.resume(returning: element) }
        }
    }

    /// Lets every waiting sender go on: nobody receives any more.
    func close() {
        let senders = state.withLock { state in
            state.isClosed = true
            defer { state.senders = [] }
            return state.senders
        }
        senders.forEach { $0.resume() }
    }
}
