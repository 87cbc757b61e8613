// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// Places where tests kill the supervisor; not in release builds.
let faultPoints = SwiftSetting.define("SUPERSERVE_FAULT_POINTS", .when(configuration: .debug))

let hardenedC: [CSetting] = [
    .define("_GNU_SOURCE"),
    .unsafeFlags([
        "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wstrict-prototypes",
        "-fstack-protector-strong", "-ftrivial-auto-var-init=zero", "-D_FORTIFY_SOURCE=3",
    ]),
    // What is fortified has to be optimized: tests run what is shipped.
    .unsafeFlags(["-O1"], .when(configuration: .debug)),
]

/// Addresses of library functions are looked up at the start, and cannot be written later.
let boundAtStart = LinkerSetting.unsafeFlags(["-Xlinker", "-z", "-Xlinker", "now"])

/// One file without libraries that is loaded at a random address. Nothing of Swift's is in it,
/// which every session would have in memory. gold cannot do that.
let staticAtRandomAddress = LinkerSetting.unsafeFlags([
    "-static-executable", "-nostartfiles", "-use-ld=lld", "-Xclang-linker", "-static-pie",
    "-Xlinker", "--wrap=_dl_relocate_static_pie",  // start.c
])

let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let lifecycle = Target.Dependency.product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let argumentParser = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
]
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let tls: [Target.Dependency] = [
    .product(name: "NIOSSL", package: "swift-nio-ssl"),
    .product(name: "NIOTLS", package: "swift-nio"),
    .product(name: "SwiftASN1", package: "swift-asn1"),
    .product(name: "X509", package: "swift-certificates"), crypto,
]

let package = Package(
    name: "superserve",
    products: [
        .executable(name: "superserve", targets: ["superserve"]),
        .executable(name: "superserved", targets: ["superserved"]),
        .executable(name: "superserve-launcher", targets: ["superserve-launcher"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .target(
            name: "CSandbox",
            path: "CSandbox",
            cSettings: hardenedC,
            linkerSettings: [.linkedLibrary("seccomp"), .linkedLibrary("cap")]),
        .executableTarget(
            name: "superserve-launcher",
            dependencies: ["CSandbox"],
            cSettings: hardenedC,
            linkerSettings: [staticAtRandomAddress, boundAtStart]),
        .testTarget(name: "LintTests", swiftSettings: strict),
        .target(name: "Sandbox", dependencies: ["CSandbox", logging], swiftSettings: strict),
        .target(
            name: "AgentProtocols", dependencies: ["API", "Sandbox", "Settings"],
            swiftSettings: strict),
        .target(name: "Archive", swiftSettings: strict),
        .target(name: "Settings", dependencies: [yams], swiftSettings: strict),
        .target(name: "API", swiftSettings: strict),
        .target(
            name: "Egress", dependencies: ["API", "Settings"] + nio, swiftSettings: strict),
        .target(
            name: "Sessions",
            dependencies: [
                "API", "AgentProtocols", "Archive", "CSandbox", "Egress", "Settings", "Sandbox",
                logging,
            ],
            swiftSettings: strict + [faultPoints]),
        .target(
            name: "Gateway",
            dependencies: ["Egress", "Sessions", "Settings"] + nio + tls,
            swiftSettings: strict),
        .target(
            name: "Storage",
            dependencies: ["API", "AgentProtocols", "Sandbox", "Sessions", "Settings", grdb],
            swiftSettings: strict),
        .target(
            name: "Server",
            dependencies: [
                "API", "Archive", "Sandbox", "Sessions", hummingbird, hummingbirdCore, logging,
            ] + nio,
            swiftSettings: strict),
        .target(
            name: "Daemon",
            dependencies: [
                "API", "CSandbox", "Egress", "Gateway", "Sandbox", "Server", "Sessions", "Settings",
                "Storage", lifecycle, logging,
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "superserved",
            dependencies: ["Daemon", "Settings", argumentParser, logging], swiftSettings: strict,
            linkerSettings: [boundAtStart]),
        .target(name: "Client", dependencies: ["API"] + nio, swiftSettings: strict),
        .target(
            name: "CLI",
            dependencies: ["API", "Archive", "Client", argumentParser],
            swiftSettings: strict),
        .executableTarget(
            name: "superserve", dependencies: ["CLI"], swiftSettings: strict,
            linkerSettings: [boundAtStart]),
        .testTarget(name: "SettingsTests", dependencies: ["Settings"], swiftSettings: strict),
        .testTarget(
            name: "EgressTests", dependencies: ["Egress", "Settings"] + nio,
            swiftSettings: strict),
        .testTarget(
            name: "GatewayTests", dependencies: ["Egress", "Gateway", "Sessions"],
            swiftSettings: strict),
        .testTarget(
            name: "AgentProtocolsTests",
            dependencies: ["API", "AgentProtocols", "Sandbox", "Settings"],
            swiftSettings: strict),
        .testTarget(
            name: "SandboxTests", dependencies: ["CSandbox", "Sandbox"], swiftSettings: strict),
        .testTarget(
            name: "SessionsTests",
            dependencies: [
                "API", "AgentProtocols", "Egress", "Gateway", "Sandbox", "Sessions", "Settings",
                "Storage", logging,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "StorageTests",
            dependencies: [
                "API", "AgentProtocols", "Sandbox", "Sessions", "Settings", "Storage", grdb,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "DaemonTests", dependencies: ["Daemon", "Settings", logging],
            swiftSettings: strict),
        .testTarget(name: "ArchiveTests", dependencies: ["Archive"], swiftSettings: strict),
        .testTarget(
            name: "ClientTests", dependencies: ["API", "Client"] + nio, swiftSettings: strict),
        .testTarget(
            name: "CLITests",
            dependencies: ["API", "Archive", "CLI", "Client", argumentParser],
            swiftSettings: strict),
    ]
)
