vcl 4.1;

backend default {
  .host = "{{.Blog}}";
  .port = "8080";
}

sub vcl_recv {
  # Who may have logged in gets nothing from the cache.
  if (req.url ~ "^/wp-(admin|login)") {
    return (pass);
  }
  unset req.http.Cookie;
}

sub vcl_deliver {
  if (obj.hits > 0) {
    set resp.http.X-Cache = "HIT";
  } else {
    set resp.http.X-Cache = "MISS";
  }
}
