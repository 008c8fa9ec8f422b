using System.Text;

namespace Rollcall.Wire
{
    /// <summary>Strict UTF-8: what is not valid is refused in both directions, never replaced.</summary>
    internal static class Utf8
    {
        internal static readonly byte[] None = new byte[0];
        private static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);

        internal static bool TryDecode(byte[] b, int offset, int count, out string text)
        {
            text = "";
            if (count == 0)
                return true;
            try
            {
                text = Strict.GetString(b, offset, count);
                return true;
            }
            catch (DecoderFallbackException)
            {
                return false;
            }
        }

        /// <summary>Returns null for a string that has half a surrogate pair, which UTF-8 has no bytes for.</summary>
        internal static byte[] Encode(string text)
        {
            if (text.Length == 0)
                return None;
            try
            {
                return Strict.GetBytes(text);
            }
            catch (EncoderFallbackException)
            {
                return null;
            }
        }
    }
}
