package io.github.rollcallgo.client;

import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.concurrent.atomic.AtomicBoolean;

/** A message from the server or from another user. All methods may be called on any thread. */
public final class Message {
    private final int type;
    private final int id;
    private final int device;
    private final String from;
    private final byte[] body;
    private final Connection connection; // null for a reply, which is not answered
    private final AtomicBoolean answered = new AtomicBoolean();

    Message(int type, int id, int device, String from, byte[] body, Connection connection) {
        this.type = type;
        this.id = id;
        this.device = device;
        this.from = from;
        this.body = body;
        this.connection = connection;
    }

    /** {@return the message type, 1 to 0xFFFF} */
    public int type() {
        return type;
    }

    /** {@return the user who sent the message; empty for the server itself} */
    public String from() {
        return from;
    }

    /** {@return the device class that the sender wrote, unchecked; 0 is unspecified} */
    public int device() {
        return device;
    }

    /** {@return the body; it is this message's own array, and not copied} */
    public byte[] body() {
        return body;
    }

    /** {@return the body as UTF-8; bytes that are not become U+FFFD} */
    public String text() {
        return new String(body, StandardCharsets.UTF_8);
    }

    /** {@return whether the sender waits for an answer: {@link #reply} or {@link #replyError}} */
    public boolean isRequest() {
        return id != 0 && connection != null;
    }

    /**
     * Answers a request. It may be called after the handler has returned. The answer is queued, as by {@link RollcallClient#send}.
     *
     * @param answer the body; it may be empty, and be used again when this method has returned
     * @throws IllegalStateException    if this is no request, or was answered already
     * @throws MessageTooLargeException if the body is too large; the sender then gets {@link CloseCode#HANDLER_FAILED}
     * @throws DisconnectedException    if the server asked, on a connection that has ended
     * @throws RollcallException        if there is no connection
     */
    public void reply(byte[] answer) throws RollcallException {
        claim();
        try {
            connection.engine().answer(this, Frame.REPLY, answer);
        } catch (MessageTooLargeException e) {
            connection.engine().answer(this, Frame.REPLY | Frame.ERROR,
                Bodies.close(CloseCode.HANDLER_FAILED, "the answer could not be sent", Collections.emptyMap()));
            throw e;
        }
    }

    /**
     * Answers a request with an error.
     *
     * @param code 3000 to 65535, such as {@link CloseCode#REFUSED}
     * @param text for people; it may be empty, and is left out where the answer would be too large
     * @throws IllegalArgumentException for another code
     * @throws IllegalStateException    if this is no request, or was answered already
     * @throws RollcallException        as {@link #reply} does
     */
    public void replyError(int code, String text) throws RollcallException {
        replyError(new ReplyException(code, text));
    }

    /**
     * Answers a request with an error. To throw it in the handler does the same.
     *
     * @param error is sent with its code, text and info
     * @throws IllegalStateException if this is no request, or was answered already
     * @throws RollcallException     as {@link #reply} does
     */
    public void replyError(ReplyException error) throws RollcallException {
        claim();
        connection.engine().answer(this, Frame.REPLY | Frame.ERROR, Bodies.close(error.code(), error.text(), error.info()));
    }

    private void claim() {
        if (!isRequest()) {
            throw new IllegalStateException("the sender of this message expects no answer");
        }
        if (!answered.compareAndSet(false, true)) {
            throw new IllegalStateException("the request was answered already");
        }
    }

    boolean isAnswered() {
        return answered.get();
    }

    int id() {
        return id;
    }

    Connection connection() {
        return connection;
    }

    @Override
    public String toString() {
        return "Message{type=" + type + ", from=" + (from.isEmpty() ? "the server" : from) + ", " + body.length + " bytes}";
    }
}
