package httpserver

import (
	"log/slog"
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// profilesOf returns the handler of a server with or without profiles.
func profilesOf(on bool) http.Handler {
	return New(nil, Options{Handler: http.NotFoundHandler(), Connections: 1, Profiles: on, Log: slog.New(slog.DiscardHandler)}).http.Handler
}
