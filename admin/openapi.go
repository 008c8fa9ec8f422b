package admin

import (
	_ "embed" // for openAPIText
	"net/http"
)

// openAPIText describes the API, in OpenAPI 3.1. A test holds each answer against it.
//
//go:embed openapi.json
var openAPIText []byte

func (a *Admin) openAPI(c *call) { c.write(http.StatusOK, openAPIText) }
