using System;
using System.Collections.Generic;

namespace Rollcall
{
    /// <summary>Says what a push is. A later server may have more kinds: ignore kinds that you do not know.</summary>
    public enum PushKind : byte
    {
        /// <summary>The content is a text in UTF-8.</summary>
        Text = 1,
        /// <summary>The content is any bytes of the application.</summary>
        Binary = 2,
        /// <summary>The user is about to be thrown out; the content is the reason.</summary>
        KickOut = 3,
        /// <summary>Something to show to a person.</summary>
        Notification = 4,
        /// <summary>The application's; the name says what it is.</summary>
        Custom = 5,
    }

    /// <summary>A message that the server's application pushes. A handler may keep it.</summary>
    public sealed class PushMessage
    {
        internal PushMessage(Guid id, PushKind kind, string name, bool confirm, long unixTimeMilliseconds,
            IReadOnlyDictionary<string, string> metadata, byte[] content)
        {
            Id = id;
            Kind = kind;
            Name = name;
            Confirm = confirm;
            UnixTimeMilliseconds = unixTimeMilliseconds;
            Metadata = metadata;
            Content = content;
        }

        /// <summary>Identifies the push. Its text is the UUID that the server knows.</summary>
        public Guid Id { get; }

        /// <summary>What the push is. It may be a number without a name here.</summary>
        public PushKind Kind { get; }

        /// <summary>Says what a Custom push is; empty for the other kinds.</summary>
        public string Name { get; }

        /// <summary>Says whether the server waits for an acknowledgement. The client sends it when the handler's task has completed.</summary>
        public bool Confirm { get; }

        /// <summary>When the push was made, in milliseconds since 1970-01-01 UTC, before it if negative; 0 is unknown.</summary>
        public long UnixTimeMilliseconds { get; }

        /// <summary>When the push was made, in UTC. Null if that is unknown, or outside the years 1 to 9999.</summary>
        public DateTimeOffset? Time
        {
            get
            {
                if (UnixTimeMilliseconds == 0 || UnixTimeMilliseconds < -62135596800000 || UnixTimeMilliseconds > 253402300799999)
                    return null;
                return DateTimeOffset.FromUnixTimeMilliseconds(UnixTimeMilliseconds);
            }
        }

        /// <summary>The application's named values; never null.</summary>
        public IReadOnlyDictionary<string, string> Metadata { get; }

        /// <summary>What is pushed; never null, and shared with nothing.</summary>
        public byte[] Content { get; }
    }
}
