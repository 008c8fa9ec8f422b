package io.github.rollcallgo.client;

import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ScheduledFuture;

/** Renews a session whose token expires, until its connection ends. */
final class Renewal {
    /** The least time between two renewals, even when the server gives less. */
    private static final long LEAST = 100;

    private final Connection connection;
    private final Engine engine;
    private long end;
    private boolean stopped;
    private ScheduledFuture<?> timer;
    private TokenCall call;

    Renewal(Connection connection, Engine engine) {
        this.connection = connection;
        this.engine = engine;
    }

    /** When to renew a session that lasts so long: random, so that the clients of a restarted server do not all renew at once. */
    static long renewAfter(long expires) {
        return Millis.between(expires / 10 * 6, expires / 4 * 3);
    }

    /** When to try again after a failure, with so much time left. */
    static long tryAgainAfter(long left, long retry) {
        return Math.max(Math.max(Millis.between(left / 16, left / 8), LEAST), retry);
    }

    /** After a code that says that the token is bad, another attempt would count as another failed logon. */
    static boolean worthAnotherTry(int code) {
        return CloseCode.mayReconnect(code) || code == CloseCode.REFUSED || code == CloseCode.HANDLER_FAILED || code == CloseCode.TIMED_OUT;
    }

    void begin() {
        if (connection.expires() > 0) {
            end = Millis.now() + connection.expires();
            next(renewAfter(connection.expires()));
        }
    }

    private synchronized void next(long wait) {
        if (!stopped) {
            timer = engine.after(wait, this::fetchToken);
        }
    }

    /** The last call, on the thread that reads. */
    void stop() {
        TokenCall running;
        synchronized (this) {
            stopped = true;
            running = call;
            if (timer != null) {
                timer.cancel(false);
            }
        }
        if (running != null) {
            running.stop();
        }
    }

    private void fetchToken() {
        if (engine.settings.token == null) {
            renew(null);
            return;
        }
        synchronized (this) {
            if (!stopped) {
                call = new TokenCall(engine.settings.token, this::tokenCame);
                timer = engine.after(engine.settings.connectTimeout, () -> call.cancel(true));
                call.start();
            }
        }
    }

    /** Runs on the thread of the token function, or on the one that has cancelled it. */
    private void tokenCame() {
        TokenCall done;
        synchronized (this) {
            done = call;
            timer.cancel(false);
        }
        try {
            renew(done.get());
        } catch (CancellationException e) {
            answered(null, RollcallException.network("the token function took too long", e));
        } catch (ExecutionException e) {
            answered(null, TokenCall.failure(e.getCause()));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // the connection has ended
        }
    }

    private void renew(String token) {
        Map<String, String> fields = engine.logonFields(token);
        fields.remove("session"); // a renewal takes over no session
        byte[] body;
        try {
            body = Bodies.stringMap(fields);
        } catch (IllegalArgumentException e) {
            answered(null, new RollcallException(CloseCode.INVALID_MESSAGE, "the token cannot be sent", e));
            return;
        }
        connection.renew(body, engine.settings.connectTimeout).whenComplete(this::answered);
    }

    private void answered(Message reply, Throwable failure) {
        long now = Millis.now();
        Throwable why = failure;
        try {
            if (why == null) {
                long expires = Millis.parse(Bodies.parseLogonReply(reply.body()).get("expires-ms"));
                if (expires > 0) { // otherwise the session does not expire any more
                    end = now + expires;
                    next(Math.max(renewAfter(expires), LEAST));
                }
                return;
            }
        } catch (RollcallException e) {
            why = e;
        }
        RollcallException e = why instanceof RollcallException ? (RollcallException) why : null;
        if (now < end && (e == null || worthAnotherTry(e.code()))) {
            next(tryAgainAfter(end - now, e == null ? 0 : Millis.retry(e)));
        }
    }
}
