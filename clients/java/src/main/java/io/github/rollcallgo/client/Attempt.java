package io.github.rollcallgo.client;

import java.io.IOException;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ScheduledFuture;

/** One attempt to connect and log on. The thread that reads runs it; any thread may abort it. */
final class Attempt {
    private final Engine engine;
    private final Settings settings;
    private final Address address;
    private final Transport transport = new Transport();
    private TokenCall call;
    private boolean aborted;
    private boolean finished;

    Attempt(Engine engine, Address address) {
        this.engine = engine;
        this.address = address;
        settings = engine.settings;
    }

    /** Returns a connection that is logged on. */
    Connection run() throws RollcallException {
        long until = Millis.now() + settings.connectTimeout;
        ScheduledFuture<?> limit = engine.after(settings.connectTimeout, this::abort);
        try {
            Map<String, String> fields = engine.logonFields(settings.token == null ? null : fetchToken(settings.token));
            Connection c = open(until);
            c.logOn(Bodies.stringMap(fields));
            if (!finish()) {
                throw RollcallException.network("the attempt took too long", null);
            }
            return c;
        } catch (IllegalArgumentException e) {
            throw new RollcallException(CloseCode.INVALID_MESSAGE, "the token or the session cannot be sent", e);
        } finally {
            limit.cancel(false);
            if (!isFinished()) {
                transport.abort();
            }
        }
    }

    private Connection open(long until) throws RollcallException {
        try {
            transport.connect(address, Math.max(1, until - Millis.now()), address.tls ? settings.sslContext.getSocketFactory() : null);
            return new Connection(engine, transport);
        } catch (IOException e) {
            throw RollcallException.network("connecting to " + address + ": " + e.getMessage(), e);
        }
    }

    private String fetchToken(Callable<String> token) throws RollcallException {
        TokenCall c = new TokenCall(token, () -> { });
        synchronized (this) {
            if (aborted) {
                throw RollcallException.network("the attempt was ended", null);
            }
            call = c;
        }
        c.start();
        try {
            return c.get();
        } catch (CancellationException e) {
            c.stop();
            throw RollcallException.network("the token function took too long", e);
        } catch (ExecutionException e) {
            throw TokenCall.failure(e.getCause());
        } catch (InterruptedException e) {
            c.stop();
            Thread.currentThread().interrupt();
            throw RollcallException.network("interrupted", e);
        }
    }

    private synchronized boolean finish() {
        finished = !aborted;
        return finished;
    }

    private synchronized boolean isFinished() {
        return finished;
    }

    /** Ends the attempt, unless it has succeeded. */
    synchronized void abort() {
        if (finished) {
            return;
        }
        aborted = true;
        if (call != null) {
            call.cancel(true);
        }
        transport.abort();
    }
}
