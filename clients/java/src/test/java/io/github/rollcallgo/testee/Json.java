package io.github.rollcallgo.testee;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Just enough JSON for the testee: objects are maps, arrays lists, numbers longs, and fractions are not needed. */
final class Json {
    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    static Map<String, Object> object(String text) {
        Json j = new Json(text);
        @SuppressWarnings("unchecked")
        Map<String, Object> map = (Map<String, Object>) j.value();
        return map;
    }

    private Object value() {
        char c = peek();
        if (c == '{' || c == '[') {
            return c == '{' ? members() : elements();
        }
        if (c == '"') {
            return string();
        }
        int start = at;
        while (at < text.length() && ",]} \t".indexOf(text.charAt(at)) < 0) {
            at++;
        }
        String word = text.substring(start, at);
        return word.equals("null") ? null : word.equals("true") || word.equals("false") ? (Object) word.equals("true") : Long.valueOf(word);
    }

    private Map<String, Object> members() {
        Map<String, Object> map = new LinkedHashMap<>();
        at++;
        while (peek() != '}') {
            String key = string();
            expect(':');
            map.put(key, value());
            comma();
        }
        at++;
        return map;
    }

    private List<Object> elements() {
        List<Object> list = new ArrayList<>();
        at++;
        while (peek() != ']') {
            list.add(value());
            comma();
        }
        at++;
        return list;
    }

    private void comma() {
        if (peek() == ',') {
            at++;
        }
    }

    private char peek() {
        while (Character.isWhitespace(text.charAt(at))) {
            at++;
        }
        return text.charAt(at);
    }

    private void expect(char c) {
        if (peek() != c) {
            throw new IllegalArgumentException("expected " + c + " at " + at + " of " + text);
        }
        at++;
    }

    private String string() {
        expect('"');
        StringBuilder s = new StringBuilder();
        while (true) {
            char c = text.charAt(at++);
            if (c == '"') {
                return s.toString();
            }
            if (c == '\\') {
                c = text.charAt(at++);
                int escape = "bfnrt".indexOf(c);
                if (escape >= 0) {
                    c = "\b\f\n\r\t".charAt(escape);
                } else if (c == 'u') {
                    c = (char) Integer.parseInt(text.substring(at, at + 4), 16);
                    at += 4;
                }
            }
            s.append(c);
        }
    }

    static String write(Object v) {
        StringBuilder out = new StringBuilder();
        write(v, out);
        return out.toString();
    }

    private static void write(Object v, StringBuilder out) {
        if (v instanceof Map) {
            out.append('{');
            for (Iterator<? extends Map.Entry<?, ?>> i = ((Map<?, ?>) v).entrySet().iterator(); i.hasNext();) {
                Map.Entry<?, ?> e = i.next();
                write(e.getKey(), out);
                out.append(':');
                write(e.getValue(), out);
                out.append(i.hasNext() ? "," : "");
            }
            out.append('}');
        } else if (v instanceof List) {
            out.append('[');
            for (Iterator<?> i = ((List<?>) v).iterator(); i.hasNext();) {
                write(i.next(), out);
                out.append(i.hasNext() ? "," : "");
            }
            out.append(']');
        } else if (v instanceof String) {
            out.append('"');
            for (char c : ((String) v).toCharArray()) {
                if (c < ' ' || c > '~' || c == '"' || c == '\\') {
                    out.append("\\u").append(Integer.toHexString(0x10000 | c).substring(1));
                } else {
                    out.append(c);
                }
            }
            out.append('"');
        } else {
            out.append(v);
        }
    }
}
