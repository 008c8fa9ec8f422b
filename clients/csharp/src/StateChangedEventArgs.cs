using System;

namespace Rollcall
{
    /// <summary>What a client is doing.</summary>
    public enum RollcallState
    {
        /// <summary>There is no connection; the client waits, or tries to make one.</summary>
        Reconnecting,
        /// <summary>The client is logged on.</summary>
        Online,
        /// <summary>The client has ended for good.</summary>
        Closed,
    }

    /// <summary>A change of a client's state.</summary>
    public sealed class StateChangedEventArgs : EventArgs
    {
        internal StateChangedEventArgs(RollcallState state, RollcallException reason)
        {
            State = state;
            Reason = reason;
        }

        /// <summary>The new state.</summary>
        public RollcallState State { get; }

        /// <summary>
        /// Why the connection was lost, the attempt failed, or the client ended; null with Online. After CloseAsync or Dispose its Failure
        /// is ClientClosed.
        /// </summary>
        public RollcallException Reason { get; }
    }

    /// <summary>An exception of a handler.</summary>
    public sealed class HandlerFailedEventArgs : EventArgs
    {
        internal HandlerFailedEventArgs(Exception exception)
        {
            Exception = exception;
        }

        /// <summary>What the handler threw.</summary>
        public Exception Exception { get; }
    }
}
