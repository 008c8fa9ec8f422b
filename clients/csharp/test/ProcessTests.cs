using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using System.Xml;
using Rollcall.Wire;

namespace Rollcall.Tests
{
    /// <summary>Programs that are built beside the tests: the README's example, the terminal, the testee; and the package's project.</summary>
    internal static class ProcessTests
    {
        private static Process Mono(string program, params string[] arguments) => Start("mono", "build/" + program + ".exe " + string.Join(" ", arguments));

        internal static Process Start(string program, string arguments) => Process.Start(new ProcessStartInfo(program, arguments)
        {
            UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true,
        });

        /// <summary>
        /// Reads lines up to one that begins so, and ends the program. It does not wait for its end, because mono hangs at that, now and
        /// then: see README.md.
        /// </summary>
        private static async Task<List<string>> ReadTo(Process program, string last)
        {
            var lines = new List<string>();
            do
            {
                string line = await Check.Soon(program.StandardOutput.ReadLineAsync(), "a line of output");
                Check.True(line != null, "the output ends before \"" + last + "\": " + string.Join("\n", lines));
                lines.Add(line);
            }
            while (!lines[lines.Count - 1].StartsWith(last));
            End(program);
            return lines;
        }

        internal static void End(Process program)
        {
            try
            {
                program.Kill();
            }
            catch (Exception e) when (e is InvalidOperationException || e is System.ComponentModel.Win32Exception)
            {
                // It has ended by itself, or is about to.
            }
        }

        private static string Text(Frame f) => Encoding.UTF8.GetString(f.Buffer, f.BodyAt, f.BodyCount);

        [Test]
        private static async Task TheExampleOfTheReadmeDoesWhatItSays()
        {
            using (var server = new FakeServer())
            using (Process program = Mono("Readme", server.Url))
            using (Peer peer = await server.AcceptLogonAsync())
            {
                Check.Equal("t:alice", peer.Logon["token"]);
                Check.Equal("hello, server", Text(await peer.ReadAsync(1)));
                Frame asked = await peer.ReadAsync(1);
                Check.Equal("hello bob", Text(asked) + " " + asked.Dest);
                peer.Push(Guid.NewGuid(), true);
                await peer.ReadAsync(SystemType.PushAck);
                peer.Send(new Outgoing { Type = 1, Id = 5, User = Encoding.UTF8.GetBytes("carol"), Body = Encoding.UTF8.GetBytes("hi") });
                Frame answer = await peer.ReadAsync(1);
                Check.Equal("read 5 carol", Text(answer) + " " + answer.Id + " " + answer.Dest);
                peer.Refuse(asked, RollcallCode.UserOffline);
                Frame online = await peer.ReadAsync(SystemType.WhoIsOnline);
                peer.Send(new Outgoing { Type = online.Type, Flags = 1, Id = online.Id, Body = Bodies.IdList(new[] { "alice" }) });
                await peer.GoodbyeAsync();
                string output = string.Join("\n", await ReadTo(program, "Closed"));
                foreach (string line in new[] { "Online ", "carol: hi", "bob is offline", "online: alice" })
                    Check.True(output.Split('\n').Contains(line), "the output lacks \"" + line + "\": " + output);
                Check.True(output.Contains("Text "), "the output lacks the push: " + output);
            }
        }

        [Test]
        private static async Task TheTerminalShowsWhatComesAndWritesToAUser()
        {
            using (var server = new FakeServer())
            using (Process program = Mono("Terminal", server.Url, "alice", "bob"))
            using (Peer peer = await server.AcceptLogonAsync())
            {
                Check.Equal("* Online alice", await Check.Soon(program.StandardOutput.ReadLineAsync(), "the state"));
                peer.Send(new Outgoing { Type = 1, User = Encoding.UTF8.GetBytes("bob"), Body = Encoding.UTF8.GetBytes("hi") });
                Check.Equal("<bob> hi", await Check.Soon(program.StandardOutput.ReadLineAsync(), "the message"));
                program.StandardInput.WriteLine("hello");
                program.StandardInput.Flush();
                Frame f = await peer.ReadAsync(1);
                Check.Equal("hello bob", Text(f) + " " + f.Dest);
                peer.Send(new Outgoing { Type = 1, Flags = 1, Id = f.Id });
                Check.Equal("* bob has it", await Check.Soon(program.StandardOutput.ReadLineAsync(), "the outcome"));
                program.StandardInput.WriteLine("@carol hello");
                program.StandardInput.Flush();
                f = await peer.ReadAsync(1);
                Check.Equal("hello carol", Text(f) + " " + f.Dest);
                peer.Refuse(f, RollcallCode.UserOffline);
                Check.Equal("* not delivered to carol: UserOffline", await Check.Soon(program.StandardOutput.ReadLineAsync(), "the outcome"));
                program.StandardInput.Close();
                await peer.GoodbyeAsync();
                await ReadTo(program, "* Closed");
            }
            Check.True(File.ReadAllLines("examples/Terminal.cs").Length < 100, "the terminal has less than 100 lines");
        }

        [Test]
        private static async Task TheTesteeEndsWithItsInput()
        {
            string anywhere = Path.GetFullPath("testee");
            using (var server = new FakeServer())
            using (Process program = Start("sh", "-c \"cd / && exec " + anywhere + "\""))
            {
                string ready = await Check.Soon(program.StandardOutput.ReadLineAsync(), "the first event");
                Check.True(ready.Contains("\"ready\"") && ready.Contains("\"csharp\""), ready);
                program.StandardInput.WriteLine("{\"do\":\"dial\", \"address\":\"" + server.Url + "\",\"user\":\"al\\u0069ce\",\"fields\":{\"a\\\"b\":\"c\\n\"}}");
                program.StandardInput.Flush();
                using (Peer peer = await server.AcceptLogonAsync())
                {
                    Check.Equal("c\n", peer.Logon["a\"b"]);
                    Check.True((await Check.Soon(program.StandardOutput.ReadLineAsync(), "the state")).Contains("online"), "online");
                    program.StandardInput.Close();
                    await peer.GoodbyeAsync();
                    await Check.Until(() => program.HasExited, "the program has ended");
                    Check.Equal(0, program.ExitCode, "status");
                }
            }
        }

        [Test]
        private static void TheProjectHasTheSourcesThatAreCompiledHere()
        {
            List<XmlElement> project = Elements("Rollcall.Client.csproj");
            Check.Equal("netstandard2.1", project.Single(e => e.Name == "TargetFramework").InnerText);
            Check.Equal("7.3", project.Single(e => e.Name == "LangVersion").InnerText);
            Check.Equal("false", project.Single(e => e.Name == "EnableDefaultItems").InnerText, "no other source is taken");
            Check.Equal(0, project.Count(e => e.Name == "PackageReference"), "dependencies");
            var covered = new List<string>();
            foreach (XmlElement compile in project.Where(e => e.Name == "Compile"))
            {
                string glob = compile.GetAttribute("Include");
                Check.True(glob.EndsWith("/**/*.cs"), "the test does not know the glob " + glob);
                covered.AddRange(Directory.GetFiles(glob.Split('/')[0], "*.cs", SearchOption.AllDirectories));
            }
            Check.Equal(string.Join(" ", File.ReadAllLines("build/sources.txt").OrderBy(s => s, StringComparer.Ordinal)),
                string.Join(" ", covered.OrderBy(s => s, StringComparer.Ordinal)));
        }

        private static List<XmlElement> Elements(string file)
        {
            var document = new XmlDocument();
            document.Load(file);
            return document.SelectNodes("//*").Cast<XmlElement>().ToList();
        }

        [Test]
        private static void FilesAreNotLong()
        {
            foreach (string file in new[] { "src", "test", "examples", "bench" }.SelectMany(d => Directory.GetFiles(d, "*.cs", SearchOption.AllDirectories)))
                Check.True(File.ReadAllLines(file).Length <= 450, file + " has more than 450 lines");
        }
    }
}
