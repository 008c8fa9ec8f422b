using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Rollcall.Testee
{
    /// <summary>The program that the conformance suite speaks with; docs/writing-a-client.md describes how.</summary>
    internal sealed class Testee
    {
        private static readonly object Output = new object();

        private readonly ConcurrentDictionary<string, TaskCompletionSource<bool>> acks = new ConcurrentDictionary<string, TaskCompletionSource<bool>>();
        private readonly List<Message> requests = new List<Message>();
        private CancellationTokenSource dialling = new CancellationTokenSource();
        private Task dialled = Task.CompletedTask;
        private volatile RollcallClient client;
        private RollcallOptions options;
        private Exception last;

        private static void Main()
        {
            ThreadPool.SetMinThreads(8, 8);
            Tell("ready", e => { e["language"] = "csharp"; e["transports"] = new[] { "tcp", "tls" }; });
            var testee = new Testee();
            var input = new StreamReader(Console.OpenStandardInput(), new UTF8Encoding(false));
            for (string line = input.ReadLine(); line != null; line = input.ReadLine())
                testee.Do(new Command((Dictionary<string, object>)Json.Parse(line)));
            testee.CloseAsync().Wait();
            Environment.Exit(0); // a return from Main makes mono wait for ever, now and then: see README.md
        }

        private void Do(Command c)
        {
            switch (c.Text("do"))
            {
                case "dial":
                    dialling = new CancellationTokenSource();
                    dialled = DialAsync(c, dialling.Token);
                    break;
                case "send":
                    Answer(c, async e =>
                    {
                        await Client().SendAsync(c.Type, c.Body, c.To);
                        e["event"] = "done";
                    });
                    break;
                case "request":
                    Answer(c, async e =>
                    {
                        Message reply = await Client().RequestAsync(c.Type, c.Body, c.To, c.Timeout);
                        e["from"] = reply.From;
                        e["body"] = Command.Hex(reply.Body);
                    });
                    break;
                case "online":
                    Answer(c, async e => e["users"] = await Client().WhoIsOnlineAsync(c.List("users"), c.Timeout));
                    break;
                case "reply":
                    Message request;
                    lock (requests)
                        request = requests[c.Number("request")];
                    Ignore(c.Number("code") != 0
                        ? request.ReplyErrorAsync((RollcallCode)c.Number("code"), c.Text("text"))
                        : request.ReplyAsync(c.Body));
                    break;
                case "ack":
                    Held(c.Text("push")).TrySetResult(true);
                    break;
                case "show":
                    Tell("shown", e => { e["tag"] = c.Text("tag"); e["text"] = client + "\n" + options + "\n" + last; });
                    break;
                case "close":
                    Ignore(CloseAsync());
                    break;
            }
        }

        private async Task DialAsync(Command c, CancellationToken stop)
        {
            client = null;
            options = new RollcallOptions
            {
                User = c.Text("user"),
                Device = (ushort)c.Number("device"),
                Fields = c.Map("fields"),
                MaxBody = c.Number("max_body"),
                Setup = fresh => Register(fresh, c),
            };
            if (c.Has("min_ms"))
                options.BackoffMin = c.Span("min_ms");
            if (c.Has("max_ms"))
                options.BackoffMax = c.Span("max_ms");
            if (c.Has("stable_ms"))
                options.StableAfter = c.Span("stable_ms");
            List<string> tokens = c.List("tokens");
            int asked = 0;
            if (tokens.Count > 0)
                options.Token = _ => Task.FromResult(tokens[Math.Min(asked++, tokens.Count - 1)]);
            try
            {
                if (c.Has("ca"))
                    options.Authorities = RollcallOptions.ReadCertificates(File.ReadAllText(c.Text("ca")));
                await RollcallClient.ConnectAsync(c.Text("address"), options, stop);
            }
            catch (Exception e)
            {
                last = e;
                TellState("closed", e is OperationCanceledException ? new RollcallException(RollcallCode.ClientClosed) : e);
            }
        }

        private void Register(RollcallClient fresh, Command c)
        {
            fresh.StateChanged += (sender, e) =>
            {
                client = fresh; // before ConnectAsync returns
                last = e.Reason ?? last;
                if (e.State == RollcallState.Online)
                    Tell("state", s => { s["state"] = "online"; s["user"] = fresh.UserId; });
                else
                    TellState(e.State.ToString().ToLowerInvariant(), e.Reason);
            };
            fresh.HandlerFailed += (sender, e) => Console.Error.WriteLine("testee: " + e.Exception);
            fresh.OnPush(push => Pushed(push, c.Is("hold")));
            foreach (int type in c.Has("types") ? c.Numbers("types") : new List<int> { 1 })
                fresh.OnMessage((ushort)type, Arrived);
        }

        private Task Arrived(Message m)
        {
            Tell(m.IsRequest ? "request" : "message", e =>
            {
                e["from"] = m.From;
                e["type"] = m.Type;
                e["body"] = Command.Hex(m.Body);
                if (!m.IsRequest)
                    return;
                lock (requests)
                {
                    e["request"] = requests.Count;
                    requests.Add(m);
                }
            });
            return Task.CompletedTask;
        }

        private Task Pushed(PushMessage push, bool hold)
        {
            Task until = Held(push.Id.ToString()).Task; // before the event, which may be answered at once
            Tell("push", e =>
            {
                e["id"] = push.Id.ToString();
                e["kind"] = (int)push.Kind;
                e["name"] = push.Name;
                e["time"] = push.UnixTimeMilliseconds;
                e["confirm"] = push.Confirm;
                e["metadata"] = push.Metadata;
                e["body"] = Command.Hex(push.Content);
            });
            return hold ? until : Task.CompletedTask;
        }

        private async Task CloseAsync()
        {
            dialling.Cancel();
            await dialled;
            RollcallClient closing = client;
            if (closing == null)
                return;
            Task closed = closing.CloseAsync();
            foreach (TaskCompletionSource<bool> ack in acks.Values)
                ack.TrySetResult(true); // a handler that is held ends with the program
            await closed;
            await closing.Completion;
        }

        private RollcallClient Client() => client ?? throw new InvalidOperationException("there is no client");

        private TaskCompletionSource<bool> Held(string push) =>
            acks.GetOrAdd(push, _ => new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously));

        private static async void Ignore(Task task)
        {
            try
            {
                await task;
            }
            catch (RollcallException)
            {
                // The suite sees what comes, or does not.
            }
        }

        private static async void Answer(Command c, Func<Dictionary<string, object>, Task> run)
        {
            var e = new Dictionary<string, object> { ["tag"] = c.Text("tag") };
            string name = "reply";
            try
            {
                await run(e);
            }
            catch (Exception x)
            {
                name = "error";
                e["reason"] = Reason(x);
                if (x is RollcallException refused && refused.Failure == RollcallFailure.Refused)
                {
                    e["code"] = (int)refused.Code;
                    e["text"] = refused.Text;
                }
            }
            Tell(e.ContainsKey("event") ? (string)e["event"] : name, to => { foreach (var pair in e) to[pair.Key] = pair.Value; });
        }

        private static string Reason(Exception x)
        {
            if (x is ArgumentException)
                return "invalid";
            if (x is TimeoutException)
                return "timeout";
            switch ((x as RollcallException)?.Failure)
            {
                case RollcallFailure.Refused:
                    return "refused";
                case RollcallFailure.Disconnected:
                    return "disconnected";
                case RollcallFailure.TooLarge:
                    return "too-large";
                case RollcallFailure.ClientClosed:
                    return "closed";
                case RollcallFailure.NotConnected:
                    return "not-connected";
            }
            return x is InvalidOperationException ? "not-connected" : x.ToString();
        }

        private static void TellState(string state, Exception reason)
        {
            var error = reason as RollcallException;
            Tell("state", e =>
            {
                e["state"] = state;
                e["code"] = error == null ? 1001 : (int)error.Code;
                e["text"] = error == null ? reason.Message : error.Text;
                e["may_reconnect"] = error == null || error.MayReconnect;
            });
        }

        private static void Tell(string name, Action<Dictionary<string, object>> fill)
        {
            var e = new Dictionary<string, object>();
            fill(e);
            e["event"] = name;
            var line = new StringBuilder();
            Json.Write(line, e);
            line.Append('\n');
            lock (Output)
            {
                Console.Out.Write(line.ToString());
                Console.Out.Flush();
            }
        }
    }

    /// <summary>One line of standard input.</summary>
    internal sealed class Command
    {
        private readonly Dictionary<string, object> fields;

        internal Command(Dictionary<string, object> fields)
        {
            this.fields = fields;
        }

        internal ushort Type => (ushort)Number("type");

        /// <summary>Null for the server.</summary>
        internal string To => Text("to") == "" ? null : Text("to");

        internal TimeSpan? Timeout => Has("timeout_ms") ? Span("timeout_ms") : (TimeSpan?)null;

        internal byte[] Body
        {
            get
            {
                if (Has("size"))
                    return new byte[Number("size")];
                string hex = Text("body");
                return Enumerable.Range(0, hex.Length / 2).Select(i => Convert.ToByte(hex.Substring(2 * i, 2), 16)).ToArray();
            }
        }

        internal bool Has(string name) => fields.TryGetValue(name, out object value) && value != null;

        internal bool Is(string name) => Has(name) && (bool)fields[name];

        internal string Text(string name) => Has(name) ? (string)fields[name] : "";

        internal int Number(string name) => Has(name) ? (int)(double)fields[name] : 0;

        internal TimeSpan Span(string name) => TimeSpan.FromMilliseconds(Number(name));

        internal List<string> List(string name) => Has(name) ? ((List<object>)fields[name]).Cast<string>().ToList() : new List<string>();

        internal List<int> Numbers(string name) => ((List<object>)fields[name]).Select(n => (int)(double)n).ToList();

        internal Dictionary<string, string> Map(string name) =>
            Has(name) ? ((Dictionary<string, object>)fields[name]).ToDictionary(p => p.Key, p => (string)p.Value) : null;

        internal static string Hex(byte[] b)
        {
            var hex = new StringBuilder();
            foreach (byte v in b)
                hex.Append(v.ToString("x2"));
            return hex.ToString();
        }
    }
}
