package io.github.rollcallgo.client;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Map;
import java.util.UUID;

/** A message of the server's application that says what it is, when it was made, and whether it is to be confirmed. */
public final class Push {
    /** A text in UTF-8. */
    public static final int TEXT = 1;
    /** Any bytes. */
    public static final int BINARY = 2;
    /** The reason why the user is about to be thrown out. */
    public static final int KICK_OUT = 3;
    /** Something to show to a person. */
    public static final int NOTIFICATION = 4;
    /** What the application has given a {@link #name}. */
    public static final int CUSTOM = 5;

    private final UUID id;
    private final int kind;
    private final boolean confirm;
    private final long time;
    private final String name;
    private final Map<String, String> metadata;
    private final byte[] content;

    Push(UUID id, int kind, boolean confirm, long time, String name, Map<String, String> metadata, byte[] content) {
        this.id = id;
        this.kind = kind;
        this.confirm = confirm;
        this.time = time;
        this.name = name;
        this.metadata = metadata;
        this.content = content;
    }

    /** {@return the push's ID, of version 7} */
    public UUID id() {
        return id;
    }

    /** {@return the kind: {@link #TEXT} to {@link #CUSTOM}, or the number of one of a later version} */
    public int kind() {
        return kind;
    }

    /** {@return whether the client acknowledges the push when its handler has returned} */
    public boolean isToBeConfirmed() {
        return confirm;
    }

    /** {@return when the push was made; null if that is not known} */
    public Instant time() {
        return time == 0 ? null : Instant.ofEpochMilli(time);
    }

    /** {@return the name of a {@link #CUSTOM} push; otherwise empty} */
    public String name() {
        return name;
    }

    /** {@return the application's metadata; not modifiable} */
    public Map<String, String> metadata() {
        return metadata;
    }

    /** {@return the content; it is this push's own array, and not copied} */
    public byte[] content() {
        return content;
    }

    /** {@return the content as UTF-8; bytes that are not become U+FFFD} */
    public String text() {
        return new String(content, StandardCharsets.UTF_8);
    }

    @Override
    public String toString() {
        return "Push{id=" + id + ", kind=" + kind + ", " + content.length + " bytes}";
    }
}
