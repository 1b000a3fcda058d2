package api

import (
	"bytes"
	_ "embed"
	"net/http"
	"time"
)

// Description is the OpenAPI description of the API.
//
//go:embed openapi.yaml
var Description []byte

func serveDescription(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/yaml; charset=utf-8") // RFC 9512
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(Description))
}
