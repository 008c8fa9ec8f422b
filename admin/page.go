package admin

import "net/http"

// asset is a file of the page.
type asset struct {
	text      []byte
	kind, tag string
}

// page answers with a file of the page.
func (a *Admin) page(c *call, _ string) { c.fail(http.StatusNotFound, "there is nothing at this path") }
