package io.github.rollcallgo.client;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * An error reply: the outcome of a request that the receiver refused. The connection stays. A {@link MessageHandler} throws one to
 * answer a request in this way.
 */
public final class ReplyException extends RollcallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes an error reply, for a handler to throw.
     *
     * @param code 3000 to 65535: the application's, or one of {@link CloseCode} from {@link CloseCode#USER_OFFLINE} on
     * @param text for people; it may be empty
     * @throws IllegalArgumentException for another code
     */
    public ReplyException(int code, String text) {
        this(code, text, Collections.emptyMap());
    }

    /**
     * Makes an error reply that tells programs more.
     *
     * @param code as for the other one
     * @param text for people; it may be empty
     * @param info such as {@code retry-ms}, within the limits of {@link ClientBuilder#field}
     * @throws IllegalArgumentException for another code, or for what cannot be sent
     */
    public ReplyException(int code, String text, Map<String, String> info) {
        super(checked(code), text, Collections.unmodifiableMap(new LinkedHashMap<>(info)), null);
        Bodies.stringMap(info);
    }

    /** One that a server or another user has sent. */
    ReplyException(RollcallException received) {
        super(received.code(), received.text(), received.info(), null);
    }

    private static int checked(int code) {
        if (code < 3000 || code > 0xFFFF) {
            throw new IllegalArgumentException("code " + code + " does not answer a request: 3000 to 65535 do");
        }
        return code;
    }
}
