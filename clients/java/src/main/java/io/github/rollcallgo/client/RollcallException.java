package io.github.rollcallgo.client;

import java.io.IOException;
import java.util.Collections;
import java.util.Map;

/**
 * Why a connection ended, a logon failed, or a message could not be sent. It has a code of {@link CloseCode}. Subclasses say what was
 * being done.
 */
public class RollcallException extends IOException {
    private static final long serialVersionUID = 1L;

    private final int code;
    private final String text;
    private final transient Map<String, String> info;

    /**
     * Makes an exception, for a token function that knows why there is no token: the code decides whether the client tries again.
     *
     * @param code a code of {@link CloseCode}, or the application's
     * @param text for people; it may be empty
     */
    public RollcallException(int code, String text) {
        this(code, text, Collections.emptyMap(), null);
    }

    RollcallException(int code, String text, Throwable cause) {
        this(code, text, Collections.emptyMap(), cause);
    }

    RollcallException(int code, String text, Map<String, String> info, Throwable cause) {
        super(text.isEmpty() ? CloseCode.name(code) : CloseCode.name(code) + ": " + text, cause);
        this.code = code;
        this.text = text;
        this.info = info;
    }

    /** {@return the code, of {@link CloseCode} or the application's} */
    public int code() {
        return code;
    }

    /** {@return the text for people that came with the code; it may be empty} */
    public String text() {
        return text;
    }

    /** {@return what the server added for programs, such as {@code retry-ms}; not modifiable, and empty after serialization} */
    public Map<String, String> info() {
        return info == null ? Collections.emptyMap() : info;
    }

    /** {@return whether another attempt to connect makes sense without a person asking for it} */
    public boolean mayReconnect() {
        return CloseCode.mayReconnect(code);
    }

    static RollcallException invalid(String text) {
        return new RollcallException(CloseCode.INVALID_MESSAGE, text);
    }

    static RollcallException network(String text, Throwable cause) {
        return new RollcallException(CloseCode.NETWORK_ERROR, text, cause);
    }
}
