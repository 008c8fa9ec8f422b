package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// document is an OpenAPI document.
type document struct {
	Paths map[string]map[string]struct {
		Summary    string
		Parameters []struct {
			Name, In string
			Required bool
		}
		RequestBody *struct {
			Content map[string]struct{ Schema schema }
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]schema }
}

// schema is as much of a JSON Schema as the document uses.
type schema struct {
	Ref         string `json:"$ref"`
	Type        string
	Format      string
	Description string
	Enum        []any
	Properties  map[string]schema
	Required    []string
	Items       *schema
	AnyOf       []schema
	Others      json.RawMessage `json:"additionalProperties"`
	MinItems, MaxItems, MinLength, MaxLength,
	Minimum, Maximum *int
}

var api = func() (d document) {
	if err := json.Unmarshal(openAPIText, &d); err != nil {
		panic(err)
	}
	return d
}()

// fault returns what is wrong with a value; "" for nothing.
func (s schema) fault(v any, at string) string {
	if s.Ref != "" {
		target, ok := api.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if !ok {
			return at + ": there is no " + s.Ref
		}
		return target.fault(v, at)
	}
	if s.AnyOf != nil {
		all := ""
		for _, one := range s.AnyOf {
			f := one.fault(v, at)
			if f == "" {
				return ""
			}
			all += "; " + f
		}
		return all
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		return fmt.Sprintf("%s: %v is not one of %v", at, v, s.Enum)
	}
	is := false
	switch v := v.(type) {
	case string:
		is = s.Type == "string"
		if _, err := time.Parse(time.RFC3339, v); s.Format == "date-time" && (err != nil || strings.HasPrefix(v, "0001")) {
			return at + ": is no time: " + v
		}
	case bool:
		is = s.Type == "boolean"
	case float64:
		is = s.Type == "number" || s.Type == "integer" && v == math.Trunc(v)
	case []any:
		is = s.Type == "array"
		for i, x := range v {
			if s.Items == nil {
				return at + ": has no items"
			}
			if f := s.Items.fault(x, fmt.Sprintf("%s[%d]", at, i)); f != "" {
				return f
			}
		}
	case map[string]any:
		is = s.Type == "object"
		if f := s.objectFault(v, at); f != "" {
			return f
		}
	}
	if !is {
		return fmt.Sprintf("%s: is no %s: %v", at, s.Type, v)
	}
	return ""
}

func (s schema) objectFault(v map[string]any, at string) string {
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return at + ": has no " + name
		}
	}
	for name, x := range v {
		p, ok := s.Properties[name]
		switch {
		case ok:
		case string(s.Others) == "false":
			return at + ": has " + name
		case s.Others != nil:
			if err := json.Unmarshal(s.Others, &p); err != nil {
				return at + ": " + err.Error()
			}
		default:
			continue
		}
		if f := p.fault(x, at+"."+name); f != "" {
			return f
		}
	}
	return ""
}

// wantDocumented holds an answer of the API against the document.
func wantDocumented(t *testing.T, method, path string, a answer) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	var n uint64
	at := slices.IndexFunc(routes, func(r route) bool { return r.method == method && r.match(path, &n) })
	if at < 0 {
		return
	}
	op := api.Paths["/"+routes[at].path][strings.ToLower(method)]
	response, ok := op.Responses[fmt.Sprint(a.status)]
	if !ok {
		t.Errorf("%s %s: the answer %d is not in the document: %s", method, path, a.status, a.body)
		return
	}
	content, ok := response.Content["application/json"]
	if !ok {
		return // a stream: see TestEvents
	}
	var v any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Errorf("%s %s: %v: %s", method, path, err, a.body)
	} else if f := content.Schema.fault(v, "answer"); f != "" {
		t.Errorf("%s %s: the %d is not as the document says: %s", method, path, a.status, f)
	}
}

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	var documented, served []string
	for path, ops := range api.Paths {
		for method := range ops {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range routes {
		served = append(served, r.method+" /"+r.path)
		op := api.Paths["/"+r.path][strings.ToLower(r.method)]
		own := slices.ContainsFunc(op.Parameters, func(p struct {
			Name, In string
			Required bool
		}) bool {
			return p.Name == ownHeader && p.In == "header" && p.Required
		})
		if op.Summary == "" || own != (r.need() == Act) || (op.RequestBody != nil) != (r.need() == Act) {
			t.Errorf("%s %s: a summary, the header or the body is missing", r.method, r.path)
		}
	}
	slices.Sort(documented)
	if slices.Sort(served); !slices.Equal(documented, served) {
		t.Errorf("the document has\n%q\nand the package\n%q", documented, served)
	}
	for name, s := range api.Components.Schemas {
		if s.Description == "" || s.Properties == nil || string(s.Others) != "false" {
			t.Errorf("%s: a description is missing, or it lets in what it does not name", name)
		}
		for _, p := range slices.Sorted(maps.Keys(s.Properties)) {
			if x := s.Properties[p]; x.Description == "" && x.Ref == "" && x.Items == nil {
				t.Errorf("%s.%s has no description", name, p)
			}
		}
	}
	got := testkit.Must(json.Marshal(api.Components.Schemas["Event"].Properties["kind"].Enum))
	if want := testkit.Must(json.Marshal(kinds)); string(got) != string(want) {
		t.Errorf("the document has the kinds %s, and not %s", got, want)
	}
}
