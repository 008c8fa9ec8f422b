using System;
using System.Threading;
using System.Threading.Tasks;
using Rollcall.Wire;

namespace Rollcall
{
    /// <summary>A message of the server or of another user, or a reply. Handlers may keep it, and answer it from any thread.</summary>
    public sealed class Message
    {
        private readonly RollcallClient client; // null for a reply
        private int answered;

        internal Message(RollcallClient client, Frame frame)
        {
            this.client = client;
            Type = (ushort)frame.Type;
            From = frame.User;
            Device = (ushort)frame.Device;
            Id = frame.Id;
            Body = frame.CopyBody();
        }

        /// <summary>The message's type.</summary>
        public ushort Type { get; }

        /// <summary>The user ID of the sender; empty is the server.</summary>
        public string From { get; }

        /// <summary>The device class that the sender wrote, unchecked.</summary>
        public ushort Device { get; }

        /// <summary>The content; never null, and shared with nothing.</summary>
        public byte[] Body { get; }

        /// <summary>Says whether the sender waits for a reply.</summary>
        public bool IsRequest => client != null && Id != 0;

        internal uint Id { get; }

        /// <summary>Says whether it was answered, by the program or by the client.</summary>
        internal bool IsAnswered => Volatile.Read(ref answered) != 0;

        /// <summary>
        /// Answers the request. It may be called in the handler or later, once. The task completes when the answer is queued. It fails as
        /// <see cref="RollcallClient.SendAsync"/>'s does. If the body is too large the sender gets HandlerFailed. After the connection was
        /// lost the answer most likely reaches no waiting request.
        /// </summary>
        /// <exception cref="InvalidOperationException">The message is no request, or was answered already.</exception>
        public async Task ReplyAsync(byte[] body, CancellationToken stop = default(CancellationToken))
        {
            Begin();
            try
            {
                await client.AnswerAsync(this, Frame.ReplyFlag, body, stop).ConfigureAwait(false);
            }
            catch (RollcallException e) when (e.Failure == RollcallFailure.TooLarge)
            {
                byte[] failed = Bodies.Close(RollcallCode.HandlerFailed, "the answer could not be sent");
                await client.AnswerAsync(this, Frame.ReplyFlag | Frame.ErrorFlag, failed, stop).ConfigureAwait(false);
                throw;
            }
        }

        /// <summary>Answers the request with an error. Otherwise it is as <see cref="ReplyAsync"/>.</summary>
        /// <param name="code">A code from 3000 on.</param>
        /// <param name="text">For people; null is none. It is cut at 65,535 bytes, and left out where the answer would be larger than the limit.</param>
        /// <param name="stop">Ends the waiting for room in the queue.</param>
        /// <exception cref="ArgumentException">The code is below 3000: those are about connections.</exception>
        public Task ReplyErrorAsync(RollcallCode code, string text = null, CancellationToken stop = default(CancellationToken))
        {
            if ((int)code < RollcallClient.LeastAnswer)
                throw new ArgumentException("a code below 3000 is about connections", nameof(code));
            Begin();
            return client.AnswerAsync(this, Frame.ReplyFlag | Frame.ErrorFlag, Bodies.Close(code, text), stop);
        }

        /// <summary>The message's body as the body of a frame, for the parsers.</summary>
        internal Frame ToFrame() => new Frame { Type = Type, Flags = Frame.ReplyFlag, Buffer = Body, BodyCount = Body.Length };

        private void Begin()
        {
            if (!IsRequest)
                throw new InvalidOperationException("the message is no request");
            if (Interlocked.Exchange(ref answered, 1) != 0)
                throw new InvalidOperationException("the request was answered already");
        }
    }
}
