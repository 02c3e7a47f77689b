// A page of a dated view: its manifest says which state of the project's pages was published that day, and nginx serves that.

async function page(r) {
  const asked = r.uri.match(/^\/(simple@[\d-]+)\/(([^/]+)\/)?(.*)$/);
  const project = asked[3];
  const manifest = await r.subrequest(`/${asked[1]}/manifest.txt`);
  const lines = manifest.status === 200 ? manifest.responseText : "";
  const start = lines.indexOf(`\n${project || "."} `) + 1;
  if (start === 0) {
    r.return(manifest.status === 200 ? 404 : manifest.status);
    return;
  }
  const digest = lines.slice(lines.indexOf(" ", start) + 1, lines.indexOf("\n", start));
  r.internalRedirect(`/simple@${digest}/${asked[2] || ""}${asked[4]}`);
}

export default { page };
