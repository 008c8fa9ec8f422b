// Terminal logs on, shows what comes, and writes to a user: each line that is typed, or "@bob line" for another one.
//
//     mono build/Terminal.exe tls://localhost:9000 alice bob [authorities.pem]
//
// The token is read from the environment, ROLLCALL_TOKEN.
using System;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Rollcall;

internal static class Terminal
{
    private const ushort Chat = 1;

    private static void Main(string[] args) => Environment.Exit(Run(args)); // without it mono hangs at its end, now and then

    private static int Run(string[] args)
    {
        if (args.Length < 3)
        {
            Console.Error.WriteLine("usage: Terminal ADDRESS USER TO [AUTHORITIES]");
            return 2;
        }
        try
        {
            RunAsync(args[0], args[1], args[2], args.Skip(3).FirstOrDefault()).GetAwaiter().GetResult();
            return 0;
        }
        catch (RollcallException e)
        {
            Console.Error.WriteLine("terminal: " + e.Message);
            return 1;
        }
    }

    private static async Task RunAsync(string address, string user, string to, string authorities)
    {
        var options = new RollcallOptions
        {
            User = user,
            Token = _ => Task.FromResult(Environment.GetEnvironmentVariable("ROLLCALL_TOKEN")),
            Setup = Show,
        };
        if (authorities != null)
            options.Authorities = RollcallOptions.ReadCertificates(File.ReadAllText(authorities));
        using (RollcallClient client = await RollcallClient.ConnectAsync(address, options))
        {
            while (true)
            {
                Task<string> reading = Task.Run(() => Console.ReadLine());
                if (await Task.WhenAny(reading, client.Completion) != reading || reading.Result == null)
                    break;
                await WriteAsync(client, reading.Result, to);
            }
            await client.CloseAsync();
        }
    }

    private static async Task WriteAsync(RollcallClient client, string line, string to)
    {
        if (line.StartsWith("@") && line.Contains(" "))
        {
            to = line.Substring(1, line.IndexOf(' ') - 1);
            line = line.Substring(line.IndexOf(' ') + 1);
        }
        try
        {
            await client.RequestAsync(Chat, Encoding.UTF8.GetBytes(line), to, TimeSpan.FromSeconds(5));
            Console.WriteLine("* {0} has it", to);
        }
        catch (Exception e) when (e is RollcallException || e is TimeoutException || e is ArgumentException)
        {
            Console.WriteLine("* not delivered to {0}: {1}", to, e.Message);
        }
    }

    private static void Show(RollcallClient client)
    {
        client.StateChanged += (sender, e) => Console.WriteLine("* {0} {1}", e.State, e.Reason == null ? client.UserId : e.Reason.Message);
        client.OnMessage(Chat, async m =>
        {
            Console.WriteLine("<{0}> {1}", m.From, Encoding.UTF8.GetString(m.Body));
            if (m.IsRequest)
                await m.ReplyAsync(null);
        });
        client.OnPush(push =>
        {
            Console.WriteLine("* {0}: {1}", push.Kind, Encoding.UTF8.GetString(push.Content));
            return Task.CompletedTask;
        });
    }
}
