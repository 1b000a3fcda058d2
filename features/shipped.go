package features

import "embed"

// Shipped holds the features that come with the program, one folder an area: "web/home.feature". Load reads them with
// Options.FS.
//
//go:embed */*.feature
var Shipped embed.FS
