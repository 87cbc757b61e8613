internal import CLI

@main
enum Program {
    static func main() {
        CommandLineTool.main()
    }
}
