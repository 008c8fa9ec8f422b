using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Reflection;
using System.Threading;
using System.Threading.Tasks;

namespace Rollcall.Tests
{
    /// <summary>Marks a static method that is a test. It may return a task.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class TestAttribute : Attribute
    {
    }

    /// <summary>
    /// Runs all tests, one behind the other, or with arguments those whose names have one of them as a part. A test fails by an
    /// exception, or when it takes longer than Patience.
    /// </summary>
    internal static class Runner
    {
        internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);

        private static void Main(string[] only)
        {
            ThreadPool.SetMinThreads(8, 8);
            int passed = 0;
            var failed = new List<string>();
            foreach (MethodInfo test in Tests().Where(t => only.Length == 0 || only.Any(o => Name(t).Contains(o))))
            {
                var watch = Stopwatch.StartNew();
                string fault = Run(test);
                if (fault == null)
                {
                    passed++;
                    continue;
                }
                failed.Add(Name(test));
                Console.WriteLine("FAIL {0} ({1} ms)\n{2}", Name(test), watch.ElapsedMilliseconds, fault);
            }
            Console.WriteLine("{0} tests passed, {1} failed{2}", passed, failed.Count, failed.Count > 0 ? ": " + string.Join(", ", failed) : "");
            Environment.Exit(failed.Count == 0 && passed > 0 ? 0 : 1); // a return from Main makes mono hang, now and then: see README.md
        }

        private static IEnumerable<MethodInfo> Tests() => typeof(Runner).Assembly.GetTypes().OrderBy(t => t.Name)
            .SelectMany(t => t.GetMethods(BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public))
            .Where(m => m.GetCustomAttribute<TestAttribute>() != null);

        private static string Name(MethodInfo test) => test.DeclaringType.Name + "." + test.Name;

        private static string Run(MethodInfo test)
        {
            Task task = Task.Run(async () =>
            {
                if (test.Invoke(null, null) is Task running)
                    await running;
            });
            try
            {
                return task.Wait(Patience) ? null : "it has not ended after " + Patience;
            }
            catch (AggregateException e)
            {
                Exception cause = e.GetBaseException();
                return (cause is TargetInvocationException ? cause.InnerException : cause).ToString();
            }
        }
    }

    internal sealed class CheckFailed : Exception
    {
        internal CheckFailed(string text) : base(text)
        {
        }
    }

    internal static class Check
    {
        internal static void Equal<T>(T want, T got, string what = "")
        {
            if (!EqualityComparer<T>.Default.Equals(want, got))
                throw new CheckFailed(what + ": want " + want + ", got " + got);
        }

        internal static void True(bool ok, string what)
        {
            if (!ok)
                throw new CheckFailed(what);
        }

        internal static T Throws<T>(Action run, string what = "") where T : Exception
        {
            try
            {
                run();
            }
            catch (T e)
            {
                return e;
            }
            throw new CheckFailed(what + ": no " + typeof(T).Name);
        }

        internal static async Task<T> ThrowsAsync<T>(Func<Task> run, string what = "") where T : Exception
        {
            try
            {
                await run();
            }
            catch (T e)
            {
                return e;
            }
            throw new CheckFailed(what + ": no " + typeof(T).Name);
        }

        /// <summary>Waits for something that another thread does; it fails after half a minute.</summary>
        internal static Task Until(Func<bool> ok, string what) => Until(ok, () => what);

        /// <summary>As the other one, with a text that is made when it fails.</summary>
        internal static async Task Until(Func<bool> ok, Func<string> what)
        {
            for (var watch = Stopwatch.StartNew(); !ok(); await Task.Delay(2))
            {
                if (watch.Elapsed > TimeSpan.FromSeconds(30))
                    throw new CheckFailed("it does not come to be that " + what());
            }
        }

        /// <summary>Waits for a task, half a minute at most.</summary>
        internal static async Task<T> Soon<T>(Task<T> task, string what)
        {
            await Soon((Task)task, what);
            return await task;
        }

        internal static async Task Soon(Task task, string what)
        {
            using (var stop = new CancellationTokenSource()) // so that no timers gather
            {
                True(await Task.WhenAny(task, Task.Delay(30000, stop.Token)) == task, what + " does not come");
                stop.Cancel();
            }
            await task;
        }
    }
}
