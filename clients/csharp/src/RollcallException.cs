using System;
using System.Collections.Generic;

namespace Rollcall
{
    /// <summary>What a <see cref="RollcallException"/> is about.</summary>
    public enum RollcallFailure
    {
        /// <summary>The connection, or the attempt to log on, ended with the code.</summary>
        ConnectionEnded,
        /// <summary>A request was answered with an error, which has the code.</summary>
        Refused,
        /// <summary>
        /// The connection was lost before the reply came. Whether the other side has handled the request is not known. The inner
        /// exception says why the connection was lost.
        /// </summary>
        Disconnected,
        /// <summary>There is no connection now. The message was neither sent nor kept for later.</summary>
        NotConnected,
        /// <summary>The body is larger than the server accepts, or than <see cref="RollcallOptions.MaxBody"/>.</summary>
        TooLarge,
        /// <summary>The client has ended for good. The inner exception, if there is one, says why.</summary>
        ClientClosed,
    }

    /// <summary>
    /// The error of a connection, a logon or a request. Its text has the code and what the other side wrote for people; it never has
    /// the token or the session's ID. Wrong arguments are an <see cref="ArgumentException"/> instead, and a request without an answer
    /// in time is a <see cref="TimeoutException"/>.
    /// </summary>
    public sealed class RollcallException : Exception
    {
        private static readonly IReadOnlyDictionary<string, string> NoInfo = new Dictionary<string, string>();

        /// <summary>Makes an error with a code, for a handler to throw: the sender of the request gets the code and the text.</summary>
        /// <param name="code">A code from 3000 on. A handler's error with a lower code is sent as HandlerFailed.</param>
        /// <param name="text">A text for people; null is none.</param>
        public RollcallException(RollcallCode code, string text = null) : this(RollcallFailure.Refused, code, text)
        {
        }

        internal RollcallException(RollcallFailure failure, RollcallCode code, string text, IReadOnlyDictionary<string, string> info = null,
            Exception inner = null) : base(Describe(code, text), inner)
        {
            Failure = failure;
            Code = code;
            Text = text ?? "";
            Info = info ?? NoInfo;
        }

        /// <summary>What the error is about.</summary>
        public RollcallFailure Failure { get; }

        /// <summary>The code. For a connection that ended without a Close it is NetworkError.</summary>
        public RollcallCode Code { get; }

        /// <summary>The text for people without the code's name; it may be empty, and is never null.</summary>
        public string Text { get; }

        /// <summary>What the other side says for programs: <c>retry-ms</c>, <c>address</c>, or the application's keys. Never null.</summary>
        public IReadOnlyDictionary<string, string> Info { get; }

        /// <summary>Says whether connecting again makes sense after this code. The client acts on it by itself.</summary>
        public bool MayReconnect => RollcallCodes.MayReconnect(Code);

        internal static RollcallException Invalid(string text) =>
            new RollcallException(RollcallFailure.ConnectionEnded, RollcallCode.InvalidMessage, text);

        internal static RollcallException Network(string text, Exception inner = null) =>
            new RollcallException(RollcallFailure.ConnectionEnded, RollcallCode.NetworkError, text, null, inner);

        internal RollcallException As(RollcallFailure failure) => new RollcallException(failure, Code, Text, Info, InnerException);

        private static string Describe(RollcallCode code, string text)
        {
            string name = Enum.IsDefined(typeof(RollcallCode), code) ? code.ToString() : "code " + (int)code;
            return string.IsNullOrEmpty(text) ? name : name + ": " + text;
        }
    }
}
