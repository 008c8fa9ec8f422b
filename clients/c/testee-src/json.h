/* As much of JSON as the testee needs: it finds the members of an object, and writes strings. Lines are taken to be valid. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

/* Returns the value of a member of the object, or NULL. */
const char *json_member(const char *object, const char *key);

/* Calls f with each value of an array, or each key and value of an object; NULL has none. */
void json_each(const char *value, void (*f)(void *arg, const char *key, const char *value), void *arg);

/* Returns the text of a string, which the caller frees, and its length unless that is NULL; NULL for no string. */
char *json_string(const char *value, size_t *len);

/* Returns a number, or `otherwise` for NULL. */
long json_number(const char *value, long otherwise);

/* Writes a string with its quotes to standard output. */
void json_print(const char *s, size_t len);

#endif
