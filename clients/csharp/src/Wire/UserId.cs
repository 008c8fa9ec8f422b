namespace Rollcall.Wire
{
    /// <summary>The rules for user IDs: 1 to 255 bytes of UTF-8 without control characters.</summary>
    internal static class UserId
    {
        internal const int MaxBytes = 255;

        /// <summary>Encodes an ID to send. The fault is null, or says why the ID cannot be sent.</summary>
        internal static byte[] Encode(string id, out string fault)
        {
            byte[] b = Utf8.Encode(id);
            fault = b == null ? "is not valid Unicode"
                : b.Length == 0 ? "is empty"
                : b.Length > MaxBytes ? "has " + b.Length + " bytes, more than " + MaxBytes
                : HasControl(id) ? "has a control character"
                : null;
            return b;
        }

        /// <summary>Reads an ID that has come; false if it breaks the rules. An empty one is allowed.</summary>
        internal static bool TryDecode(byte[] b, int offset, int count, out string id) =>
            Utf8.TryDecode(b, offset, count, out id) && !HasControl(id);

        private static bool HasControl(string id)
        {
            foreach (char c in id)
            {
                if (c < 0x20 || c >= 0x7F && c <= 0x9F)
                    return true;
            }
            return false;
        }
    }
}
