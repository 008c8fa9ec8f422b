package io.github.rollcallgo.client;

import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import javax.net.ssl.SSLContext;

/** What a builder had when its client was made. Times are in milliseconds. It has no toString, because fields may be secret. */
final class Settings {
    final Address address;
    final String user;
    final byte[] userBytes;
    final int device;
    final Map<String, String> fields;
    final Callable<String> token;
    final Map<Integer, MessageHandler> handlers;
    final MessageHandler otherHandler;
    final PushHandler pushHandler;
    final StateListener stateListener;
    final Consumer<Throwable> errorHandler;
    final SSLContext sslContext;
    final long minBackoff;
    final long maxBackoff;
    final long stableAfter;
    final long connectTimeout;
    final long requestTimeout;
    final long closeTimeout;
    final int maxBody;
    final int maxInbound;

    Settings(ClientBuilder b, SSLContext sslContext) {
        address = b.address;
        user = b.user;
        userBytes = user.isEmpty() ? Frame.NOTHING : Bodies.userId(user);
        device = b.device;
        fields = Collections.unmodifiableMap(new LinkedHashMap<>(b.fields));
        token = b.token;
        handlers = Collections.unmodifiableMap(new HashMap<>(b.handlers));
        otherHandler = b.otherHandler;
        pushHandler = b.pushHandler;
        stateListener = b.stateListener;
        errorHandler = b.errorHandler;
        this.sslContext = sslContext;
        minBackoff = b.minBackoff;
        maxBackoff = b.maxBackoff;
        stableAfter = b.stableAfter;
        connectTimeout = b.connectTimeout;
        requestTimeout = b.requestTimeout;
        closeTimeout = b.closeTimeout;
        maxBody = b.maxBody;
        maxInbound = b.maxInbound;
    }
}
