package io.github.rollcallgo.client;

/** The layout of frames, and a decoder of one frame at a time. It is not safe for concurrent use. */
final class Frame {
    static final int HEADER = 16;
    static final int REPLY = 1;
    static final int ERROR = 2;

    static final int HEARTBEAT = 0xFF00;
    static final int LOGON = 0xFF01;
    static final int CLOSE = 0xFF02;
    static final int PUSH = 0xFF03;
    static final int PUSH_ACK = 0xFF04;
    static final int WHO_IS_ONLINE = 0xFF05;
    static final int RENEW = 0xFF0A;
    static final int FIRST_SYSTEM_TYPE = 0xFF00;

    static final byte[] NOTHING = new byte[0];
    private static final int MAGIC = 0x52;
    private static final int VERSION = 1;
    /** By how much a Close, the answer to the Logon and error replies may be larger than the limit of a body. */
    private static final int SLACK = 64 << 10;

    // What the last frame had.
    int type;
    int flags;
    int id;
    int device;
    String from = "";
    String to = "";
    byte[] body = NOTHING;

    private final int maxBody;

    /** A decoder that refuses larger bodies. */
    Frame(int maxBody) {
        this.maxBody = maxBody;
    }

    boolean isReply() {
        return (flags & REPLY) != 0;
    }

    boolean isError() {
        return (flags & ERROR) != 0;
    }

    /** Appends a frame of this client; the lengths were checked before. */
    static void append(ByteQueue out, int type, int flags, int id, int device, byte[] from, byte[] to, byte[] body) {
        out.put8(MAGIC);
        out.put8(VERSION << 4 | flags);
        out.put16(type);
        out.put32(from.length + to.length + body.length);
        out.put32(id);
        out.put8(from.length);
        out.put8(to.length);
        out.put16(device);
        out.put(from);
        out.put(to);
        out.put(body);
    }

    /**
     * Decodes the frame that begins at an offset. Returns its size, or, if it is unfinished, the negative number of bytes that must have
     * come before it is worth looking again. Mistakes are reported as soon as the header shows them.
     */
    int decode(byte[] b, int at, int length) throws RollcallException {
        checkHeader(b, at, length);
        if (length < HEADER) {
            return -HEADER;
        }
        int user = u8(b, at + 12);
        int dest = u8(b, at + 13);
        long total = HEADER + u32(b, at + 4);
        if (total > Integer.MAX_VALUE - 8) {
            throw tooLarge(total);
        }
        int ids = HEADER + user + dest;
        if (length < total) {
            if (length >= ids) {
                id(b, at + HEADER, user);
                id(b, at + HEADER + user, dest);
            }
            return (int) -total;
        }
        String sender = id(b, at + HEADER, user);
        to = id(b, at + HEADER + user, dest);
        from = sender;
        flags = b[at + 1] & 0x0F;
        type = u16(b, at + 2);
        id = (int) u32(b, at + 8);
        device = u16(b, at + 14);
        int size = (int) total - ids;
        body = size == 0 ? NOTHING : new byte[size];
        System.arraycopy(b, at + ids, body, 0, size);
        return (int) total;
    }

    private void checkHeader(byte[] b, int at, int length) throws RollcallException {
        if (length >= 1 && u8(b, at) != MAGIC) {
            throw RollcallException.invalid("the frame begins with " + u8(b, at) + ", not with the magic " + MAGIC);
        }
        if (length >= 2) {
            int first = u8(b, at + 1);
            if (first >>> 4 != VERSION) {
                throw RollcallException.invalid("protocol version " + (first >>> 4) + ", want " + VERSION);
            }
            if ((first & 0x0C) != 0 || (first & 0x0F) == ERROR) {
                throw RollcallException.invalid("flags " + (first & 0x0F));
            }
        }
        if (length >= 4 && u16(b, at + 2) == 0) {
            throw RollcallException.invalid("message type 0");
        }
        if (length >= HEADER) {
            long body = u32(b, at + 4) - u8(b, at + 12) - u8(b, at + 13);
            if (body < 0) {
                throw RollcallException.invalid("the user IDs are longer than the frame");
            }
            if (body > maxBody && body > limitOf(u16(b, at + 2), b[at + 1] & 0x0F)) {
                throw tooLarge(body);
            }
        }
    }

    private long limitOf(int frameType, int frameFlags) {
        boolean larger = frameType == CLOSE || frameType == LOGON || (frameFlags & ERROR) != 0;
        return larger ? (long) maxBody + SLACK : maxBody;
    }

    private RollcallException tooLarge(long size) {
        return new RollcallException(CloseCode.MESSAGE_TOO_LARGE, "a body of " + size + " bytes, the limit is " + maxBody);
    }

    private static String id(byte[] b, int at, int length) throws RollcallException {
        if (length == 0) {
            return "";
        }
        String id = Utf8.decode(b, at, length);
        if (id == null || Utf8.hasControls(id)) {
            throw RollcallException.invalid("a user ID that is not UTF-8, or has control characters");
        }
        return id;
    }

    static int u8(byte[] b, int at) {
        return b[at] & 0xFF;
    }

    static int u16(byte[] b, int at) {
        return u8(b, at) << 8 | u8(b, at + 1);
    }

    static long u32(byte[] b, int at) {
        return (long) u16(b, at) << 16 | u16(b, at + 2);
    }

    static long u64(byte[] b, int at) {
        return u32(b, at) << 32 | u32(b, at + 4);
    }
}
