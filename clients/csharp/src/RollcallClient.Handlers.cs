using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Net;
using Rollcall.Wire;

namespace Rollcall
{
    public sealed partial class RollcallClient : IConnectionOwner
    {
        private readonly ConcurrentDictionary<int, Func<Message, Task>> handlers = new ConcurrentDictionary<int, Func<Message, Task>>();
        private readonly PushMemory pushes = new PushMemory(); // only handlers' work uses it
        private readonly Queue<Guid> unsentAcks = new Queue<Guid>(); // for the next connection; only handlers' work uses it
        private volatile Func<PushMessage, Task> pushHandler;

        /// <summary>
        /// Sets the handler for messages of a type. Handlers run one at a time, in the order of the messages: the next one begins when the
        /// task of the last one has completed. To answer a request call <see cref="Message.ReplyAsync"/>, in the handler or later. When a
        /// handler throws a <see cref="RollcallException"/> with a code from 3000 on, the sender of the request gets its code and text, and
        /// for any other exception HandlerFailed. A request of the server of a type without a handler is answered NoHandler; other messages
        /// without one are dropped.
        /// </summary>
        /// <param name="type">1 to 0xFEFF, or 0xFF06 to 0xFF09 for optional packages of the server.</param>
        /// <param name="handler">Runs on <see cref="RollcallOptions.Context"/>. Null removes the handler.</param>
        /// <exception cref="ArgumentException">The type is one of the system's.</exception>
        public void OnMessage(ushort type, Func<Message, Task> handler)
        {
            if (type == 0 || type >= SystemType.First && !SystemType.IsOptional(type))
                throw new ArgumentException("no handler can be set for this message type", nameof(type));
            if (handler == null)
                handlers.TryRemove(type, out _);
            else
                handlers[type] = handler;
        }

        /// <summary>
        /// Sets the handler for pushes, which runs in order with the messages. A push that asks for it is acknowledged when the handler's
        /// task has completed: on the next connection, if this one was lost. A push that comes again is acknowledged again, and not handed
        /// out: the client remembers the last 1,024. Without a handler pushes are dropped and not acknowledged.
        /// </summary>
        /// <param name="handler">Runs on <see cref="RollcallOptions.Context"/>. It should ignore kinds that it does not know. Null removes it.</param>
        public void OnPush(Func<PushMessage, Task> handler) => pushHandler = handler;

        Task IConnectionOwner.DeliverAsync(Connection from, Frame frame, CancellationToken stop)
        {
            Func<Task> work;
            if (frame.Type == SystemType.Push)
            {
                if (pushHandler == null)
                    return Task.CompletedTask;
                PushMessage push = PushCodec.Parse(frame);
                work = () => HandlePushAsync(push);
            }
            else
            {
                if (frame.Type >= SystemType.First && !handlers.ContainsKey(frame.Type))
                    return Task.CompletedTask;
                var message = new Message(this, frame);
                work = () => HandleMessageAsync(message);
            }
            int size = FrameCodec.HeaderLength + frame.BodyCount;
            return inbox.TryAdd(work, size) ? Task.CompletedTask : DeliverSlowlyAsync(from, work, size, stop);
        }

        private async Task DeliverSlowlyAsync(Connection from, Func<Task> work, int size, CancellationToken stop)
        {
            if (!await inbox.AddAsync(work, size, () => from.HasRequests, stop).ConfigureAwait(false))
                throw new RollcallException(RollcallFailure.ConnectionEnded, RollcallCode.RateLimited,
                    "more has come than may wait for the handlers while a request waits for its reply");
        }

        private async Task HandleMessageAsync(Message message)
        {
            if (!handlers.TryGetValue(message.Type, out Func<Message, Task> handler))
            {
                if (message.IsRequest && message.From == "") // another user's may be for another session of this user
                    await AnswerErrorAsync(message, RollcallCode.NoHandler, "the client has no handler for this message type").ConfigureAwait(false);
                return;
            }
            try
            {
                await handler(message); // on the context
            }
            catch (Exception e)
            {
                var refusal = e as RollcallException;
                bool told = refusal != null && refusal.Failure == RollcallFailure.Refused && (int)refusal.Code >= LeastAnswer;
                if (message.IsRequest && !message.IsAnswered)
                    await AnswerErrorAsync(message, told ? refusal.Code : RollcallCode.HandlerFailed, told ? refusal.Text : "");
                if (!told || !message.IsRequest)
                    RaiseFailed(e);
            }
        }

        /// <summary>Answers with an error, if that is still possible: without a connection the sender does not wait any more.</summary>
        private static async Task AnswerErrorAsync(Message request, RollcallCode code, string text)
        {
            try
            {
                await request.ReplyErrorAsync(code, text).ConfigureAwait(false);
            }
            catch (Exception e) when (e is RollcallException || e is InvalidOperationException)
            {
                // There is no connection, or the program has answered meanwhile.
            }
        }

        private async Task HandlePushAsync(PushMessage push)
        {
            if (!pushes.Has(push.Id))
            {
                Func<PushMessage, Task> handler = pushHandler;
                if (handler == null)
                    return;
                try
                {
                    await handler(push); // on the context
                }
                catch (Exception e)
                {
                    RaiseFailed(e);
                    return;
                }
                if (push.Confirm)
                    pushes.Add(push.Id);
            }
            if (push.Confirm)
                await AcknowledgeAsync(push.Id);
        }

        /// <summary>
        /// Sends a PushAck on the present connection: the server knows a push by its ID, on any connection. Without one it is kept for the
        /// next.
        /// </summary>
        private async Task AcknowledgeAsync(Guid id)
        {
            try
            {
                await Current().SendAsync(new Outgoing { Type = SystemType.PushAck, Body = PushCodec.Ack(id) }, stopping.Token);
            }
            catch (Exception e) when (e is RollcallException || e is OperationCanceledException)
            {
                if (unsentAcks.Count == PushMemory.Size)
                    unsentAcks.Dequeue();
                unsentAcks.Enqueue(id);
            }
        }

        private async Task HandleOnlineAsync()
        {
            for (int n = unsentAcks.Count; n > 0; n--)
                await AcknowledgeAsync(unsentAcks.Dequeue());
            Raise(RollcallState.Online, null);
        }

        private void Raise(RollcallState now, RollcallException reason)
        {
            try
            {
                StateChanged?.Invoke(this, new StateChangedEventArgs(now, reason));
            }
            catch (Exception e)
            {
                RaiseFailed(e);
            }
        }

        private void RaiseFailed(Exception e)
        {
            try
            {
                HandlerFailed?.Invoke(this, new HandlerFailedEventArgs(e));
            }
            catch (Exception)
            {
                // An error of the function that is told of errors is dropped.
            }
        }
    }
}
