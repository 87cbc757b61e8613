import Sessions
import Testing

@Suite("Lifecycle of a session")
struct LifecycleTests {
    enum Outcome: Equatable {
        case to(SessionPhase, [LifecycleEffect])
        case refused(LifecycleRefusal)
    }

    /// Every pair of phase and event, as the specification has it.
    static let table: [SessionPhase: [LifecycleEvent: Outcome]] = [
        .creating: [
            .created: .to(.idle, [.startIdleClock]),
            .messageAccepted: .refused(.impossible),
            .turnFinished: .refused(.impossible),
            .resumed: .refused(.impossible),
            .endRequested: .to(.ended, [.stopIdleClock, .destroySandbox, .deleteHistory]),
            .deadlinePassed: .refused(.impossible),
        ],
        .idle: [
            .created: .refused(.impossible),
            .messageAccepted: .to(.active, [.stopIdleClock]),
            .turnFinished: .refused(.impossible),
            .resumed: .to(.idle, [.startIdleClock]),
            .endRequested: .to(.ended, [.stopIdleClock, .destroySandbox, .deleteHistory]),
            .deadlinePassed: .to(.timeout, [.stopIdleClock, .destroySandbox]),
        ],
        .active: [
            .created: .refused(.impossible),
            .messageAccepted: .refused(.active),
            .turnFinished: .to(.idle, [.startIdleClock]),
            .resumed: .to(.active, []),
            .endRequested: .to(.ended, [.stopIdleClock, .destroySandbox, .deleteHistory]),
            .deadlinePassed: .refused(.impossible),
        ],
        .ended: [
            .created: .refused(.impossible),
            .messageAccepted: .refused(.over),
            .turnFinished: .refused(.impossible),
            .resumed: .refused(.over),
            .endRequested: .refused(.alreadyEnded),
            .deadlinePassed: .refused(.impossible),
        ],
        .timeout: [
            .created: .refused(.impossible),
            .messageAccepted: .refused(.over),
            .turnFinished: .refused(.impossible),
            .resumed: .refused(.over),
            .endRequested: .to(.ended, [.deleteHistory]),
            .deadlinePassed: .refused(.impossible),
        ],
    ]

    @Test(arguments: SessionPhase.allCases, LifecycleEvent.allCases)
    func everyPair(_ phase: SessionPhase, _ event: LifecycleEvent) throws {
        let expected = try #require(Self.table[phase]?[event])
        var next = phase
        let outcome: Outcome
        do {
            let effects = try next.handle(event)
            outcome = .to(next, effects)
        } catch {
            #expect(next == phase, "a refused event changes nothing")
            outcome = .refused(error)
        }
        #expect(outcome == expected)
    }
}
