#define _POSIX_C_SOURCE 200809L
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *space(const char *p)
{
    while (*p && strchr(" \t\r\n,:", *p))
        p++;
    return p;
}

static const char *skip(const char *p)
{
    int depth = 0;
    do {
        p = space(p);
        if (*p == '"') {
            for (p++; *p && *p != '"'; p++)
                p += *p == '\\' && p[1];
            p += *p == '"';
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            depth--;
            p++;
        } else {
            p += strcspn(p, " \t\r\n,:]}");
        }
    } while (depth > 0 && *p);
    return p;
}

void json_each(const char *value, void (*f)(void *arg, const char *key, const char *value), void *arg)
{
    const char *p = value ? space(value) : "";
    bool object = *p == '{';
    if (!object && *p != '[')
        return;
    for (p = space(p + 1); *p && *p != '}' && *p != ']'; p = space(skip(p))) {
        const char *key = p;
        if (object)
            p = space(skip(p));
        f(arg, object ? key : NULL, p);
    }
}

struct search {
    const char *key, *found;
};

static void compare(void *arg, const char *key, const char *value)
{
    struct search *s = arg;
    char *k = json_string(key, NULL);
    if (k && strcmp(k, s->key) == 0)
        s->found = value;
    free(k);
}

const char *json_member(const char *object, const char *key)
{
    struct search s = {key, NULL};
    json_each(object, compare, &s);
    return s.found;
}

static unsigned long hex4(const char *p)
{
    char digits[5] = {0};
    memcpy(digits, p, strnlen(p, 4));
    return strtoul(digits, NULL, 16);
}

static char *utf8(char *out, unsigned long r)
{
    if (r < 0x80) {
        *out++ = (char)r;
        return out;
    }
    if (r >= 0x10000)
        *out++ = (char)(0xF0 | r >> 18);
    if (r >= 0x800)
        *out++ = (char)(r >= 0x10000 ? 0x80 | (r >> 12 & 0x3F) : 0xE0 | r >> 12);
    *out++ = (char)(r >= 0x800 ? 0x80 | (r >> 6 & 0x3F) : 0xC0 | r >> 6);
    *out++ = (char)(0x80 | (r & 0x3F));
    return out;
}

char *json_string(const char *value, size_t *len)
{
    const char *p = value, *escapes = "b\bf\fn\nr\rt\t", *e;
    char *text, *out;
    if (!p || *p != '"')
        return NULL;
    text = out = malloc(strlen(p) + 1); /* no escape is shorter than what it stands for */
    for (p++; *p && *p != '"'; p++) {
        unsigned long r;
        if (*p != '\\') {
            *out++ = *p;
        } else if (*++p != 'u') {
            e = strchr(escapes, *p);
            *out++ = e ? e[1] : *p;
        } else {
            r = hex4(p + 1);
            p += strnlen(p + 1, 4);
            if (r >= 0xD800 && r < 0xDC00 && p[1] == '\\' && p[2] == 'u') {
                r = 0x10000 + ((r - 0xD800) << 10) + (hex4(p + 3) - 0xDC00);
                p += 2 + strnlen(p + 3, 4);
            }
            out = utf8(out, r);
        }
    }
    *out = 0;
    if (len)
        *len = (size_t)(out - text);
    return text;
}

long json_number(const char *value, long otherwise) { return value ? strtol(value, NULL, 10) : otherwise; }

void json_print(const char *s, size_t len)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}
