import Testing

/// The scanners of these tests, on text whose answer is known: a lint that finds nothing must be
/// able to.
@Suite struct ScannerTests {
    @Test func commentsAndStringsAreBlanked() {
        let text = #"""
            let a = "x { // \(f("}")) y" // { comment
            /* { /* nested */ } */ let b = 1
            """#
        let blanked = Blanked(text, isSwift: true)
        #expect(!blanked.code.contains("comment"))
        #expect(!blanked.code.contains("nested"))
        #expect(blanked.code.contains("let b = 1"))
        #expect(blanked.comments.contains("{ comment"))
        #expect(blanked.code.count { $0 == "{" } == blanked.code.count { $0 == "}" })
    }

    @Test func rawAndLongStringsAreBlanked() {
        let text = ##"""
            let a = #"quote " and \(not code {)"#
            let b = """
                text { "quoted"
                """
            let c = /quote " and { \\/ brace/
            let d = a / b / c
            func e() {}
            """##
        let blanked = Blanked(text, isSwift: true)
        #expect(blanked.code.count { $0 == "{" } == 1)
        #expect(FunctionExtent.inSwift(blanked).map(\.name) == ["e"])
    }

    @Test func swiftFunctionsAreMeasured() {
        let text = """
            protocol P {
                func without(_ a: Int) throws
                var x: Int { get }
            }
            struct S {
                init(a: Int) {
                    self.init()
                }
                func long(
                    _ a: Int
                ) async throws
                    -> Int
                {
                    if a > 0 { return 1 }
                    return 2
                }
            }
            """
        let found = FunctionExtent.inSwift(Blanked(text, isSwift: true))
        #expect(
            found == [
                FunctionExtent(name: "init", line: 6, length: 3),
                FunctionExtent(name: "long", line: 9, length: 8),
            ])
    }

    @Test func cFunctionsAreMeasured() {
        let text = """
            #define X(a) \\
                { a
            enum __attribute__((enum_extensibility(open))) e { A = 1 };
            struct s { int a; };
            static const int table[] = { 1, 2 };
            int declared(void);
            __attribute__((noreturn)) static void leave(int a) {
                char c = '{';
                exit(a);
            }
            int two(void)
            {
                return 2;
            }
            """
        let found = FunctionExtent.inC(Blanked(text, isSwift: false))
        #expect(
            found == [
                FunctionExtent(name: "leave", line: 7, length: 4),
                FunctionExtent(name: "two", line: 11, length: 4),
            ])
    }
}
