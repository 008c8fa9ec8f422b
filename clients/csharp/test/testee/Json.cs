using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.Text;

namespace Rollcall.Testee
{
    /// <summary>
    /// As much of JSON as the testee needs. Objects are Dictionary&lt;string, object&gt;, arrays List&lt;object&gt;, numbers double.
    /// </summary>
    internal sealed class Json
    {
        private readonly string text;
        private int at;

        private Json(string text)
        {
            this.text = text;
        }

        internal static object Parse(string text)
        {
            var json = new Json(text);
            object value = json.Value();
            return json.Peek() == '\0' ? value : throw new FormatException("more behind the JSON");
        }

        internal static void Write(StringBuilder to, object value)
        {
            if (value == null)
                to.Append("null");
            else if (value is bool b)
                to.Append(b ? "true" : "false");
            else if (value is string s)
                WriteString(to, s);
            else if (value is IDictionary map)
            {
                string separator = "{";
                foreach (DictionaryEntry pair in map)
                {
                    to.Append(separator);
                    WriteString(to, (string)pair.Key);
                    to.Append(':');
                    Write(to, pair.Value);
                    separator = ",";
                }
                to.Append(separator == "{" ? "{}" : "}");
            }
            else if (value is IEnumerable list)
            {
                string separator = "[";
                foreach (object item in list)
                {
                    to.Append(separator);
                    Write(to, item);
                    separator = ",";
                }
                to.Append(separator == "[" ? "[]" : "]");
            }
            else
                to.Append(Convert.ToString(value, CultureInfo.InvariantCulture));
        }

        private static void WriteString(StringBuilder to, string s)
        {
            to.Append('"');
            foreach (char c in s)
            {
                if (c == '"' || c == '\\')
                    to.Append('\\').Append(c);
                else if (c < ' ' || c > '~')
                    to.Append("\\u").Append(((int)c).ToString("x4"));
                else
                    to.Append(c);
            }
            to.Append('"');
        }

        private char Peek()
        {
            while (at < text.Length && char.IsWhiteSpace(text[at]))
                at++;
            return at < text.Length ? text[at] : '\0';
        }

        private bool Skip(char c)
        {
            if (Peek() != c)
                return false;
            at++;
            return true;
        }

        private object Value()
        {
            if (Peek() == '"')
                return String();
            if (Skip('{'))
                return Members();
            if (Skip('['))
                return Items();
            int start = at;
            while (at < text.Length && ",]} \t".IndexOf(text[at]) < 0)
                at++;
            string word = text.Substring(start, at - start);
            switch (word)
            {
                case "true":
                    return true;
                case "false":
                    return false;
                case "null":
                    return null;
                default:
                    return double.Parse(word, CultureInfo.InvariantCulture);
            }
        }

        private Dictionary<string, object> Members()
        {
            var map = new Dictionary<string, object>();
            while (!Skip('}'))
            {
                Skip(',');
                Peek();
                string key = String();
                if (!Skip(':'))
                    throw new FormatException("a colon is missing");
                map[key] = Value();
            }
            return map;
        }

        private List<object> Items()
        {
            var list = new List<object>();
            while (!Skip(']'))
            {
                list.Add(Value());
                Skip(',');
            }
            return list;
        }

        private string String()
        {
            var s = new StringBuilder();
            for (at++; text[at] != '"'; at++)
            {
                char c = text[at];
                if (c != '\\')
                {
                    s.Append(c);
                    continue;
                }
                c = text[++at];
                int known = "nrtbf".IndexOf(c);
                if (c == 'u')
                {
                    s.Append((char)Convert.ToInt32(text.Substring(at + 1, 4), 16));
                    at += 4;
                }
                else
                    s.Append(known < 0 ? c : "\n\r\t\b\f"[known]);
            }
            at++;
            return s.ToString();
        }
    }
}
