internal import CLI

@main
enum Program {
    static func main() async {
        await CommandLineTool.main()
    }
}
