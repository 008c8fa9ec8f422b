// Bench sends messages to a server that sends back what it gets, and counts what comes.
//
//     Bench server PORT
//     Bench ADDRESS SECONDS BYTES
using System;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using Rollcall;

internal static class Bench
{
    private const int Window = 10000; // so many messages are on their way at a time

    private static void Main(string[] args)
    {
        if (args[0] == "server")
            Serve(int.Parse(args[1]));
        else
            RunAsync(args[0], double.Parse(args[1]), int.Parse(args[2])).GetAwaiter().GetResult();
    }

    private static async Task RunAsync(string address, double seconds, int bytes)
    {
        int came = 0;
        var room = new SemaphoreSlim(Window, Window);
        var options = new RollcallOptions { User = "bench" };
        options.Setup = c => c.OnMessage(1, m =>
        {
            came++;
            room.Release();
            return Task.CompletedTask;
        });
        using (RollcallClient client = await RollcallClient.ConnectAsync(address, options))
        {
            var body = new byte[bytes];
            var watch = Stopwatch.StartNew();
            TimeSpan used = Process.GetCurrentProcess().TotalProcessorTime;
            for (int sent = 0; sent % 1000 != 0 || watch.Elapsed.TotalSeconds < seconds; sent++)
            {
                await room.WaitAsync();
                await client.SendAsync(1, body);
            }
            double took = watch.Elapsed.TotalSeconds;
            double processor = (Process.GetCurrentProcess().TotalProcessorTime - used).TotalSeconds;
            Console.WriteLine("{0:0} messages a second both ways, {1} bytes each; {2:0} for each second of processor time",
                came / took, bytes, came / processor);
        }
    }

    /// <summary>Answers the first frame as a logon, and sends back all other bytes: a message of a client is one of a server too.</summary>
    private static void Serve(int port)
    {
        var listener = new TcpListener(IPAddress.Loopback, port);
        listener.Start();
        var buffer = new byte[64 << 10];
        Stream(listener.AcceptTcpClient().GetStream(), buffer);
    }

    private static void Stream(NetworkStream stream, byte[] buffer)
    {
        int n = stream.Read(buffer, 0, buffer.Length); // the Logon, in one piece
        stream.Write(new byte[] { 0x52, 0x11, 0xff, 0x01, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0 }, 0, 18);
        while ((n = stream.Read(buffer, 0, buffer.Length)) > 0)
            stream.Write(buffer, 0, n);
    }
}
