package httpwire

import (
	"cmp"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// The limits of a response.
var (
	bodyLimit     = limit.Define(limit.Limit{Subject: "HTTP", What: "the page", Unit: "bytes", Most: 10 << 20, Setting: "web.body_limit"})
	fileLimit     = limit.Define(limit.Limit{Subject: "HTTP", What: "the file", Unit: "bytes", Most: 1 << 30, Setting: "web.download_limit"})
	transferLimit = limit.Define(limit.Limit{Subject: "HTTP", What: "the response as transferred", Unit: "bytes", Most: 2*10<<20 + transferSlack, Setting: "web.body_limit"})
	packedLimit   = limit.Define(limit.Limit{Subject: "HTTP", What: "the compressed body", Unit: "bytes", Most: 10<<20 + packedSlack, Setting: "web.body_limit"})
	headerLimit   = limit.Define(limit.Limit{Subject: "HTTP", What: "the header of the response", Unit: "bytes", Most: 1 << 20}) // browsers accept 256 KiB
	fieldsLimit   = limit.Define(limit.Limit{Subject: "HTTP", What: "the header of the response", Unit: "lines", Most: 10_000})
	interimLimit  = limit.Define(limit.Limit{Subject: "HTTP", What: "the response", Unit: "interim responses", Most: 100})
	chunkLimit    = limit.Define(limit.Limit{Subject: "HTTP", What: "a line of the chunks", Unit: "bytes", Most: 16 << 10})
	trailerLimit  = limit.Define(limit.Limit{Subject: "HTTP", What: "the trailer", Unit: "lines", Most: 1000})
	answersLimit  = limit.Define(limit.Limit{Subject: "HTTP", What: "the connection", Unit: "frames that demand an answer", Most: 10_000})
)

// What a response may take on the wire in addition to its body: header, chunks, frames and TLS.
const (
	transferSlack = 4 << 20
	packedSlack   = 1 << 20 // of compressed data that grows instead of shrinking
)

// BodyLimit returns how much of one page is read.
func BodyLimit(w *steps.World) limit.Limit {
	return bodyLimit.With(steps.SettingsOf[Web](w.Target()).BodyLimit)
}

// DownloadLimit returns how much of one file is read.
func DownloadLimit(w *steps.World) limit.Limit {
	return fileLimit.With(steps.SettingsOf[Web](w.Target()).DownloadLimit)
}

// transferred returns the limit of what the server sends for one response.
func (in Intake) transferred() limit.Limit {
	l := transferLimit.With(2*in.Limit.Most + transferSlack)
	l.Setting = cmp.Or(in.Limit.Setting, l.Setting)
	return l
}

// packed returns the limit of each stage of a compressed body.
func (in Intake) packed() limit.Limit {
	l := packedLimit.With(in.Limit.Most + packedSlack)
	l.Setting = cmp.Or(in.Limit.Setting, l.Setting)
	return l
}
