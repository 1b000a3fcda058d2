package httpwire

import (
	"testing"

	"github.com/stepwatch/stepwatch/steps"
)

// TestConfiguredLimits holds that the settings replace the defaults, and are named where a limit is met. What happens then is in
// the tests of floods, and of downloads in package web.
func TestConfiguredLimits(t *testing.T) {
	w := func(settings Web) *steps.World {
		return steps.NewWorld(new(steps.Target).Set(settings), nil, "run", "scenario")
	}
	if got := DownloadLimit(w(Web{})); got != fileLimit {
		t.Errorf("by default %+v, want %+v", got, fileLimit)
	}
	if got, want := DownloadLimit(w(Web{DownloadLimit: 100})).Exceeded().Error(), "the file has more than 100 bytes, the limit; web.download_limit in stepwatch.yml raises it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := BodyLimit(w(Web{BodyLimit: 100})).Exceeded().Error(), "the page has more than 100 bytes, the limit; web.body_limit in stepwatch.yml raises it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
