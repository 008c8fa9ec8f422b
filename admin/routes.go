package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const apiPrefix = "api/v1/"

// route is a request of the API that is answered. Its path is below apiPrefix; "{n}" stands for a number.
type route struct {
	method, path string
	serve        func(a *Admin, c *call)
}

// need is what a request must be allowed to do.
func (r *route) need() Permission {
	if r.method == http.MethodGet {
		return View
	}
	return Act
}

// routes are all requests of the API.
var routes = []route{
	{http.MethodGet, "overview", (*Admin).overview},
	{http.MethodGet, "sessions", (*Admin).sessions},
	{http.MethodGet, "user", (*Admin).user},
	{http.MethodGet, "conns/{n}", (*Admin).conn},
	{http.MethodGet, "closed", (*Admin).closed},
	{http.MethodGet, "bans", (*Admin).bans},
	{http.MethodGet, "relations", (*Admin).relations},
	{http.MethodGet, "rooms", (*Admin).rooms},
	{http.MethodGet, "room", (*Admin).room},
	{http.MethodGet, "nodes", (*Admin).nodes},
	{http.MethodGet, "nodes/sessions", (*Admin).nodesSessions},
	{http.MethodGet, "events", (*Admin).events},
	{http.MethodGet, "openapi.json", (*Admin).openAPI},
	{http.MethodPost, "users/kick", (*Admin).kickUser},
	{http.MethodPost, "users/unban", (*Admin).unban},
	{http.MethodPost, "conns/{n}/kick", (*Admin).kickConn},
	{http.MethodPost, "kick", (*Admin).kickMany},
	{http.MethodPost, "users/send", (*Admin).send},
	{http.MethodPost, "users/push", (*Admin).push},
}

// call is a request that is being answered.
type call struct {
	http.ResponseWriter
	*http.Request
	who   string
	may   Permission
	conn  uint64 // the number in the path
	query url.Values
}

// match reports whether path is the route's, and sets the number in it.
func (r *route) match(path string, n *uint64) bool {
	before, after, numbered := strings.Cut(r.path, "{n}")
	if !numbered {
		return path == r.path
	}
	digits, ok := strings.CutPrefix(path, before)
	if !ok {
		return false
	}
	if digits, ok = strings.CutSuffix(digits, after); !ok {
		return false
	}
	v, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || digits != strconv.FormatUint(v, 10) {
		return false
	}
	*n = v
	return true
}

// ServeHTTP implements http.Handler.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	path, isAPI := strings.CutPrefix(path, apiPrefix)
	setHeaders(w.Header(), isAPI)
	c := &call{ResponseWriter: w, Request: r}
	if a.over.Load() {
		c.fail(http.StatusServiceUnavailable, "the page is closed")
		return
	}
	if !a.isHost(r) {
		a.refuse(c, path, "the server is not to be called by this name")
		return
	}
	if isAPI || !isRead(r) {
		if why := crossSite(r); why != "" {
			a.refuse(c, path, why)
			return
		}
	}
	if a.cfg.Authorize == nil {
		a.refuse(c, path, "admin.Config.Authorize is not set, so that every request is refused")
		return
	}
	if c.who, c.may = a.cfg.Authorize(r); c.may < View {
		if c.may == Ask {
			w.Header().Set("WWW-Authenticate", `Basic realm="Rollcall", charset="UTF-8"`)
		}
		a.refuse(c, path, "this request may see nothing")
		return
	}
	if !isAPI {
		a.page(c, path)
		return
	}
	var allowed []string
	for i := range routes {
		rt := &routes[i]
		if !rt.match(path, &c.conn) {
			continue
		}
		if allowed = append(allowed, rt.method); rt.method != r.Method {
			continue
		}
		if c.may < rt.need() {
			a.refuse(c, path, "this request may look and not act")
			return
		}
		rt.serve(a, c)
		return
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		c.fail(http.StatusMethodNotAllowed, "the method is not one of "+strings.Join(allowed, ", "))
		return
	}
	c.fail(http.StatusNotFound, "there is nothing at this path")
}

// refuse answers a request that may not do what it asks, and has what would have changed something in the audit.
func (a *Admin) refuse(c *call, path, why string) {
	if !isRead(c.Request) {
		a.cfg.Audit(Action{Who: c.who, From: c.RemoteAddr, Do: limitText(c.Method+" "+path, 100), Stage: Refused, Outcome: why})
	}
	status := http.StatusForbidden
	if c.ResponseWriter.Header().Get("WWW-Authenticate") != "" {
		status = http.StatusUnauthorized
	}
	c.fail(status, why)
}

// answer answers with JSON.
func (c *call) answer(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		c.fail(http.StatusInternalServerError, err.Error())
		return
	}
	c.write(http.StatusOK, text)
}

// failure is the answer to a request that failed.
type failure struct {
	Error string `json:"error"`
}

func (c *call) fail(status int, why string) {
	text, _ := json.Marshal(failure{why})
	c.write(status, text)
}

func (c *call) write(status int, text []byte) {
	c.ResponseWriter.Header().Set("Content-Type", "application/json")
	c.ResponseWriter.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	c.WriteHeader(status)
	_, _ = c.ResponseWriter.Write(append(text, '\n'))
}

// maxRequest limits the body of a request: a thousand user IDs, each byte of which may be escaped.
const maxRequest = 2 << 20

// read reads the body, which is one JSON value; if it cannot, it answers so and returns false.
func (c *call) read(v any) bool {
	if t, _, err := mime.ParseMediaType(c.Request.Header.Get("Content-Type")); err != nil || t != "application/json" {
		c.fail(http.StatusUnsupportedMediaType, "the body must be application/json")
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(c.ResponseWriter, c.Body, maxRequest))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the value")
		}
	}
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		c.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", maxRequest))
		return false
	}
	if err != nil {
		c.fail(http.StatusBadRequest, "the body: "+err.Error())
		return false
	}
	return true
}

// param returns a parameter of the URL; "" without it.
func (c *call) param(name string) string {
	if c.query == nil {
		c.query = c.URL.Query()
	}
	return c.query.Get(name)
}

// number returns a parameter that is a whole number from low to high, or def without it; if it is none, it answers so and returns false.
func (c *call) number(name string, def, low, high int) (n int, ok bool) {
	text := c.param(name)
	if text == "" {
		return def, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		c.fail(http.StatusBadRequest, fmt.Sprintf("%s must be a number from %d to %d", name, low, high))
		return 0, false
	}
	return n, true
}

// limitText returns a text of at most so many bytes.
func limitText(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
