package main

// language is how the code of one language is run.
type language struct {
	name    string // of its folder in clients
	fence   string // the word behind the fence in the README
	inside  string // a folder in clients that the program must be in; "" for a temporary one
	file    string // the program's name
	program string // the program, with CODE for the README's lines
	run     string // what compiles and runs it, in the folder DIR; CLIENTS is the folder of all clients
}

var languages = []language{
	{
		name: "typescript", fence: "js", inside: "typescript/build", file: "program.mjs",
		program: "CODE\n",
		run:     `exec node program.mjs`,
	},
	{
		name: "c", fence: "c", file: "program.c",
		program: "CODE\n",
		run: `cc -std=c99 -Wall -Wextra -Werror -Wno-unused-parameter -I "$CLIENTS/c" program.c "$CLIENTS"/c/rollcall.c "$CLIENTS"/c/rollcall_codec.c ` +
			`"$CLIENTS"/c/rollcall_requests.c "$CLIENTS"/c/rollcall_session.c "$CLIENTS"/c/rollcall_posix.c -o program && exec ./program`,
	},
	{
		name: "python", fence: "python", file: "program.py",
		program: "CODE\n",
		run:     `PYTHONPATH="$CLIENTS/python/src" exec python3 program.py`,
	},
	{
		name: "csharp", fence: "csharp", file: "Program.cs",
		program: "using System.Text;\nusing System.Threading.Tasks;\nusing Rollcall;\n\ninternal static class Program\n{\n" +
			"    private static void Main() { RunAsync().GetAwaiter().GetResult(); }\n\n    private static async Task RunAsync()\n    {\n" +
			"CODE\n        await Task.Delay(-1);\n    }\n}\n",
		run: `cp "$CLIENTS/csharp/build/Rollcall.Client.dll" . && mcs -langversion:7.2 -r:Rollcall.Client.dll -out:Program.exe Program.cs && exec mono Program.exe`,
	},
	{
		name: "java", fence: "java", file: "Program.java",
		program: "import static java.nio.charset.StandardCharsets.UTF_8;\n\nimport io.github.rollcallgo.client.RollcallClient;\n\n" +
			"class Program {\n    public static void main(String[] args) throws Exception {\nCODE\n        Thread.sleep(Long.MAX_VALUE);\n    }\n}\n",
		run: `exec java -cp "$CLIENTS/java/build/classes" Program.java`,
	},
}
