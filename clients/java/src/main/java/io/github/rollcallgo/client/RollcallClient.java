package io.github.rollcallgo.client;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;

/**
 * One user's connection to a Rollcall server, and the connections that replace it when it is lost. {@link #builder} makes one. All
 * methods may be called on any thread, also in handlers.
 *
 * <p>The futures of requests end on a thread of the client that must not be held up: a function that follows one and may block belongs
 * on another thread, as by {@code thenAcceptAsync}. Waiting for a future is fine everywhere else, in handlers too.
 *
 * <p>The client's threads are daemons: a program that has nothing else to do calls {@link #awaitClosed}.
 */
public final class RollcallClient implements AutoCloseable {
    private final Engine engine;

    RollcallClient(Engine engine) {
        this.engine = engine;
    }

    /**
     * Begins the settings of a client.
     *
     * @param address {@code tcp://host:port}, or {@code tls://host:port}
     * @return a builder, with which to connect
     * @throws IllegalArgumentException for another address
     */
    public static ClientBuilder builder(String address) {
        return new ClientBuilder(address);
    }

    /**
     * Sends a message to the server. It returns when the message is queued; a message that is queued or under way when the connection is
     * lost is lost without an error. It waits only while more than 256 KiB wait for the network.
     *
     * @param type 1 to 0xFEFF
     * @param body it may be used again when this method has returned
     * @throws IllegalArgumentException for another type
     * @throws NotConnectedException    if there is no connection now
     * @throws MessageTooLargeException if the body is too large
     * @throws ClientClosedException    if the client is closed
     * @throws RollcallException        if the thread was interrupted while it waited (it stays so)
     */
    public void send(int type, byte[] body) throws RollcallException {
        send(type, Frame.NOTHING, body);
    }

    /**
     * Sends a message to another user, through the server, which decides whether to pass it on.
     *
     * @param user 1 to 255 bytes of UTF-8 without control characters
     * @param type 1 to 0xFEFF
     * @param body as for {@link #send}, and so are the exceptions
     * @throws RollcallException as {@link #send} does
     */
    public void sendTo(String user, int type, byte[] body) throws RollcallException {
        send(type, Bodies.userId(user), body);
    }

    private void send(int type, byte[] to, byte[] body) throws RollcallException {
        ClientBuilder.checkType(type);
        Connection c = engine.current();
        c.checkBody(body);
        c.send(type, 0, 0, to, body);
    }

    /**
     * Sends a request to the server, with the time limit of {@link ClientBuilder#requestTimeout}. As {@link #send} it waits while more
     * than 256 KiB wait for the network, also beyond the limit.
     *
     * @param type 1 to 0xFEFF
     * @param body it may be used again when this method has returned
     * @return ends with the reply, or with a {@link ReplyException}, a {@link java.util.concurrent.TimeoutException}, a
     *         {@link DisconnectedException}, or an exception of {@link #send}. To cancel it ends the request here
     * @throws IllegalArgumentException for another type
     */
    public CompletableFuture<Message> request(int type, byte[] body) {
        return request(type, "", Frame.NOTHING, body, engine.settings.requestTimeout);
    }

    /**
     * Sends a request to the server, with a time limit of its own.
     *
     * @param type  1 to 0xFEFF
     * @param body  it may be used again when this method has returned
     * @param limit after which the future ends with a {@link java.util.concurrent.TimeoutException}; zero is at once
     * @return as the other request's
     * @throws IllegalArgumentException for another type or a negative limit
     */
    public CompletableFuture<Message> request(int type, byte[] body, Duration limit) {
        return request(type, "", Frame.NOTHING, body, ClientBuilder.millis(limit, 0));
    }

    /**
     * Sends a request to another user. That user or the server answers; replies of other users are dropped. If several sessions of that
     * user answer the first reply counts.
     *
     * @param user 1 to 255 bytes of UTF-8 without control characters
     * @param type 1 to 0xFEFF
     * @param body it may be used again when this method has returned
     * @return as {@link #request}
     * @throws IllegalArgumentException for another type or user ID
     */
    public CompletableFuture<Message> requestTo(String user, int type, byte[] body) {
        return request(type, serverIsEmpty(user), Bodies.userId(user), body, engine.settings.requestTimeout);
    }

    /**
     * Sends a request to another user, with a time limit of its own.
     *
     * @param user  1 to 255 bytes of UTF-8 without control characters
     * @param type  1 to 0xFEFF
     * @param body  it may be used again when this method has returned
     * @param limit after which the future ends with a {@link java.util.concurrent.TimeoutException}; zero is at once
     * @return as {@link #request}
     * @throws IllegalArgumentException for another type or user ID or a negative limit
     */
    public CompletableFuture<Message> requestTo(String user, int type, byte[] body, Duration limit) {
        return request(type, serverIsEmpty(user), Bodies.userId(user), body, ClientBuilder.millis(limit, 0));
    }

    private static String serverIsEmpty(String user) {
        return user.equals("_0") ? "" : user;
    }

    private CompletableFuture<Message> request(int type, String name, byte[] to, byte[] body, long limit) {
        ClientBuilder.checkType(type);
        return ask(type, name, to, body, limit);
    }

    private CompletableFuture<Message> ask(int type, String name, byte[] to, byte[] body, long limit) {
        try {
            Connection c = engine.current();
            c.checkBody(body);
            return c.request(type, name, to, body, limit);
        } catch (RollcallException e) {
            CompletableFuture<Message> failed = new CompletableFuture<>();
            failed.completeExceptionally(e);
            return failed;
        }
    }

    /**
     * Asks which users are online, with the time limit of {@link ClientBuilder#requestTimeout}.
     *
     * @param users at most 1,000 user IDs
     * @return those of them who are online, in the same order; it fails as a request does
     * @throws IllegalArgumentException for more, or for what is no user ID
     */
    public CompletableFuture<List<String>> whoIsOnline(Collection<String> users) {
        CompletableFuture<List<String>> online = new CompletableFuture<>();
        ask(Frame.WHO_IS_ONLINE, "", Frame.NOTHING, Bodies.idList(Objects.requireNonNull(users)), engine.settings.requestTimeout)
            .whenComplete((reply, e) -> {
                try {
                    if (e != null) {
                        online.completeExceptionally(e);
                    } else {
                        online.complete(Bodies.parseIdList(reply.body()));
                    }
                } catch (RollcallException wrong) {
                    online.completeExceptionally(wrong);
                }
            });
        return online;
    }

    /** {@return what the client is doing; the listener may be told later} */
    public ConnectionState state() {
        return engine.state();
    }

    /** {@return the user as the server spells it, or as the builder does if the server has not said} */
    public String user() {
        return engine.user();
    }

    /**
     * Ends the wait before the next attempt to reconnect, for a program that knows that the network is back. A wait that the server asked
     * for is not shortened. It does nothing while the client is online or closed.
     */
    public void reconnectNow() {
        engine.reconnectNow();
    }

    /**
     * Waits until the client has ended for good and its last handler has returned. Not to be called in a handler.
     *
     * @return why it has ended; a {@link ClientClosedException} after {@link #close}
     * @throws InterruptedException if the thread was interrupted
     */
    public RollcallException awaitClosed() throws InterruptedException {
        engine.dispatcher.join();
        return engine.ended();
    }

    /**
     * Ends the client. Messages that were sent before still go out, then a Close; the server then has the time of
     * {@link ClientBuilder#closeTimeout} to end its side. Waiting requests end with a {@link DisconnectedException}. No further message is
     * delivered, and a push whose handler has not returned is not acknowledged.
     *
     * <p>It waits until the client's threads have ended; a handler that runs has the same time to return, and is then interrupted. In a
     * handler it does not wait for that handler. Later calls wait in the same way, and change nothing.
     */
    @Override
    public void close() {
        engine.close();
    }

    /** Shows neither the token, nor fields, nor the session. */
    @Override
    public String toString() {
        return "RollcallClient{" + engine.settings.address + ", user=" + user() + ", " + state() + "}";
    }
}
