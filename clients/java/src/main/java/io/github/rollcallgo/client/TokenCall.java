package io.github.rollcallgo.client;

import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;

/** A call of the token function on a thread of its own, so that the client's threads need not wait for it. */
final class TokenCall extends FutureTask<String> {
    private final Thread thread;
    private final Runnable whenDone;

    TokenCall(Callable<String> token, Runnable whenDone) {
        super(token);
        this.whenDone = whenDone;
        thread = new Thread(this, "rollcall-token");
        thread.setDaemon(true);
    }

    void start() {
        thread.start();
    }

    /** Interrupts the function, and waits a little for it to return. */
    void stop() {
        cancel(true);
        try {
            thread.join(TimeUnit.SECONDS.toMillis(1));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    protected void done() {
        whenDone.run();
    }

    /** Why there is no token. A code that the function's exception has counts. */
    static RollcallException failure(Throwable why) {
        if (why instanceof RollcallException) {
            return (RollcallException) why;
        }
        return RollcallException.network("the token function failed: " + why.getClass().getName(), why);
    }
}
