namespace Rollcall
{
    /// <summary>
    /// Says why a connection ended, a logon was refused, or a request failed. The class of a code, its thousands, says what a program
    /// must do, also for codes without a name here: after 1xxx and 3xxx a client reconnects, after 2xxx and 4xxx it does not, and 5xxx
    /// belongs to one request. 3xxx and 4xxx are the application's: cast its numbers, as in <c>(RollcallCode)3001</c>.
    /// </summary>
    public enum RollcallCode : ushort
    {
        /// <summary>The client ended the connection.</summary>
        ClientClosed = 1000,
        /// <summary>The connection could not be made, was reset, or ended without a Close. It is never on the wire.</summary>
        NetworkError = 1001,
        /// <summary>The server heard nothing from the client for too long.</summary>
        HeartbeatTimeout = 1002,
        /// <summary>The client did not read what was sent to it.</summary>
        SlowConsumer = 1003,
        /// <summary>The server is going down, or ended all sessions.</summary>
        ServerStopping = 1004,
        /// <summary>No first frame came in time.</summary>
        LogonTimeout = 1005,
        /// <summary>The server is full.</summary>
        TooManyConnections = 1006,
        /// <summary>The client sent more than may wait, or than it may in a second.</summary>
        RateLimited = 1007,
        /// <summary>The server failed.</summary>
        InternalError = 1008,
        /// <summary>The server lost the other servers of its cluster.</summary>
        NodeLost = 1009,
        /// <summary>The token has expired, and was not renewed.</summary>
        TokenExpired = 1010,

        /// <summary>The same user logged on again.</summary>
        PushedOut = 2000,
        /// <summary>The user is online elsewhere, and stays so.</summary>
        AlreadyLoggedOn = 2001,
        /// <summary>The application threw the user out.</summary>
        KickedOut = 2002,
        /// <summary>The server did not accept the token.</summary>
        Unauthorized = 2003,
        /// <summary>A frame broke the protocol.</summary>
        InvalidMessage = 2004,
        /// <summary>A frame carried another user's ID.</summary>
        WrongUserID = 2005,
        /// <summary>A body or a frame was over a limit.</summary>
        MessageTooLarge = 2006,
        /// <summary>The user may not log on with this device class.</summary>
        DeviceNotAllowed = 2007,
        /// <summary>The client sent nothing but heartbeats for longer than the server's idle time.</summary>
        SessionExpired = 2008,

        /// <summary>The user that a message was for is not online.</summary>
        UserOffline = 5000,
        /// <summary>The other side has no handler for this message type.</summary>
        NoHandler = 5001,
        /// <summary>The request could not be carried out.</summary>
        HandlerFailed = 5002,
        /// <summary>The application does not allow the request.</summary>
        Refused = 5003,
        /// <summary>No answer came in time.</summary>
        TimedOut = 5004,
    }

    internal static class RollcallCodes
    {
        /// <summary>Says whether a client may connect again after a connection that ended with the code.</summary>
        internal static bool MayReconnect(RollcallCode code)
        {
            int c = (int)code / 1000;
            return c == 1 || c == 3;
        }
    }
}
