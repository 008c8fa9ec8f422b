package io.github.rollcallgo.client;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** Strict UTF-8: Java's own conversions replace what is not valid, and so would change IDs. */
final class Utf8 {
    private Utf8() {
    }

    /** Returns null if the bytes are not UTF-8. */
    static String decode(byte[] b, int from, int length) {
        if (isAscii(b, from, length)) {
            return new String(b, from, length, StandardCharsets.US_ASCII);
        }
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(b, from, length)).toString();
        } catch (CharacterCodingException e) {
            return null;
        }
    }

    /** Returns null if the string has half of a surrogate pair, which has no UTF-8. */
    static byte[] encode(String s) {
        try {
            ByteBuffer b = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(s));
            byte[] out = new byte[b.remaining()];
            b.get(out);
            return out;
        } catch (CharacterCodingException e) {
            return null;
        }
    }

    private static boolean isAscii(byte[] b, int from, int length) {
        for (int i = from; i < from + length; i++) {
            if (b[i] < 0) {
                return false;
            }
        }
        return true;
    }

    static boolean hasControls(String s) {
        for (int i = 0; i < s.length(); i++) {
            if (Character.isISOControl(s.charAt(i))) {
                return true;
            }
        }
        return false;
    }
}
