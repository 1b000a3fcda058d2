# Does any link lead nowhere? stepwatch reads the site from its front page, and requests everything that its pages refer
# to: links, images, scripts, style sheets, places on a page. A failure lists what is broken, and on which pages.
#
# Replace the address. `pages` is the maximum number of pages to read. @timeout must be long enough for them: a tenth of
# a second per page is usual. Exclude with `ignore` every address that does something when it is requested, such as
# /logout. stepwatch does not check other hosts unless a row says | other hosts | yes |.
@every:1h @timeout:10m
Feature: Links

  Scenario: No link of the site is broken
    Then no link of "https://www.example.org/" is broken
      | depth  | 5       |
      | pages  | 500     |
      | ignore | /logout |
