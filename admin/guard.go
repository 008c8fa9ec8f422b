package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// policy is the page's Content-Security-Policy: it runs its own script, talks to its own server, and makes no element from text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; " +
	"base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"

// ownHeader is a header that a request must have unless it is a GET or a HEAD. A form, or a script of another origin, cannot set it without asking this
// server first, which never agrees.
const ownHeader = "Rollcall-Admin"

func setHeaders(h http.Header, isAPI bool) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if isAPI {
		h.Set("Cache-Control", "no-store")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
}

// isRead reports whether a request changes nothing, whatever its path.
func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// crossSite returns why a request is refused for the page that it came from; "" if it is not. Reads are refused too, since they start scans.
func crossSite(r *http.Request) string {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && (site != "none" || !isRead(r)) {
		return "the request came from another site"
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return "the request came from another origin"
		}
	}
	if isRead(r) {
		return ""
	}
	var protection http.CrossOriginProtection
	if err := protection.Check(r); err != nil {
		return "the request came from another origin"
	}
	if r.Header.Get(ownHeader) != "1" {
		return "the header " + ownHeader + ": 1 is missing"
	}
	return ""
}

// isHost reports whether the page may be called under the request's name.
func (a *Admin) isHost(r *http.Request) bool {
	return len(a.cfg.Hosts) == 0 || slices.ContainsFunc(a.cfg.Hosts, func(h string) bool { return strings.EqualFold(h, hostOf(r)) })
}
