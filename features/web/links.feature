# Does any link lead nowhere? The site is read from its front page on, and all that its pages refer to is asked for: links,
# images, scripts, style sheets, places on a page. A failure lists what is broken, and where it stands.
#
# Replace the address. `pages` is how many pages are read at most, and @timeout must be long enough for them: a tenth of a
# second each is usual. Leave out by `ignore` what does something when it is asked for, such as /logout. Other hosts are left
# alone unless a row says | other hosts | yes |.
@every:1h @timeout:10m
Feature: Links

  Scenario: No link of the site is broken
    Then no link of "https://www.example.org/" is broken
      | depth  | 5       |
      | pages  | 500     |
      | ignore | /logout |
