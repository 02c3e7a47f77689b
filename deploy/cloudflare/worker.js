// The published site at Cloudflare's edge, in front of the bucket that kiln writes (R2, S3, Wasabi): what an installer needs and a
// bucket does not do. JSON or HTML from one address, pages of folders, 404 where the bucket says 403, one spelling of each name,
// dated views. Bytes, types and caching rules are the bucket's, as kiln put them there (kiln_pipeline/core/site_layout.py).
//
//   ORIGIN              https://<endpoint>/<bucket>[/<prefix>]
//   ACCESS_KEY_ID, SECRET_ACCESS_KEY, REGION   secrets, for a bucket that strangers may not read; a key that may only read

import { AwsClient } from "aws4fetch";

const JSON_PAGE = "application/vnd.pypi.simple.v1+json";
const HTML_PAGE = "application/vnd.pypi.simple.v1+html";
const FORWARDED = ["if-none-match", "if-modified-since", "range", "if-range"];
const RETURNED = ["content-type", "content-length", "content-range", "accept-ranges", "etag", "last-modified", "cache-control"];
const ABSENT = "Not found.\nOnly tracked projects are in this index.\n";

export default {
  async fetch(request, env) {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return text(405, "Method not allowed.\n", { Allow: "GET, HEAD" });
    }
    const url = new URL(request.url);
    const parts = segments(url.pathname);
    if (parts === null) return text(404, ABSENT);
    const moved = otherSpelling(parts);
    if (moved) return redirect(moved, url.search);
    return isIndex(parts[0]) ? simple(parts, request, env) : plain(parts, url, request, env);
  },
};

// The decoded path, or null for what cannot be a key of the site: hidden, climbing, with empty parts, not UTF-8.
function segments(path) {
  try {
    const parts = path.slice(1).split("/").map(decodeURIComponent);
    const bad = parts.some((part) => part.startsWith(".") || /[\/\\\0]/.test(part)) || parts.slice(0, -1).includes("");
    return bad ? null : parts;
  } catch {
    return null;
  }
}

// The live index, a dated view of it, or one state of a project's pages, which is named by its digest.
function isIndex(part) {
  return /^simple(@(\d{4}-\d\d-\d\d|[0-9a-f]{64}))?$/.test(part);
}

// One address for each page: the normalised name (PEP 503), with a slash after it.
function otherSpelling(parts) {
  if (!isIndex(parts[0]) || isFile(parts[1])) return null;
  if (parts.length === 1) return [parts[0], ""];
  if (!/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/i.test(parts[1])) return null; // no name of a project: nothing is there
  const name = parts[1].replace(/[-_.]+/g, "-").toLowerCase();
  return name !== parts[1] || parts.length === 2 ? [parts[0], name, ...(parts.length > 2 ? parts.slice(2) : [""])] : null;
}

function isFile(part) {
  return ["index.html", "index.json", "manifest.txt", "attestation.json"].includes(part);
}

// A page of the index, or a file beside it. The live index lies there as it is asked for; a dated view is looked up.
async function simple(parts, request, env) {
  const negotiated = parts.at(-1) === "";
  const kind = negotiated ? negotiate(request.headers.get("Accept") ?? "") : null;
  const key = negotiated ? [...parts.slice(0, -1), kind === JSON_PAGE ? "index.json" : "index.html"] : parts;
  const place = await placeOf(key, env);
  if (place instanceof Response) return place;
  const answer = await object(place, request, env);
  if (!negotiated || answer.status >= 400) return answer;
  answer.headers.set("Vary", "Accept");
  if (kind === HTML_PAGE && answer.headers.has("Content-Type")) answer.headers.set("Content-Type", HTML_PAGE);
  return answer;
}

// Where the object behind a key lies: for a dated view, in the state of the pages that its manifest names.
async function placeOf(key, env) {
  const [view, ...rest] = key;
  if (!/^simple@\d{4}-/.test(view) || (rest.length === 1 && ["manifest.txt", "attestation.json"].includes(rest[0]))) return key;
  const manifest = await bucket([view, "manifest.txt"], { method: "GET" }, env);
  if (!manifest.ok) return refusal(manifest.status);
  const lines = await manifest.text();
  const start = lines.indexOf(`\n${rest.length === 1 ? "." : rest[0]} `) + 1;
  if (start === 0) return text(404, ABSENT);
  const digest = lines.slice(lines.indexOf(" ", start) + 1, lines.indexOf("\n", start));
  return [`simple@${digest}`, ...rest];
}

// The content type for an Accept header (RFC 9110 12.5.1): the highest quality, of equal ones the most exactly named, then JSON.
// What accepts nothing of ours gets HTML: old clients send odd headers, and a 406 helps none of them (PEP 691 permits it).
function negotiate(accept) {
  const ranges = accept.toLowerCase().replaceAll(".latest+", ".v1+").split(",").map((range) => range.split(";").map((piece) => piece.trim()));
  const offers = [JSON_PAGE, HTML_PAGE, "text/html"].map((kind) => ({ kind, ...exactest(kind, ranges) }));
  const better = (a, b) => a.quality > b.quality || (a.quality === b.quality && a.exactness > b.exactness);
  const best = offers.reduce((first, next) => (better(next, first) ? next : first));
  return best.quality > 0 && best.exactness > 0 ? best.kind : "text/html";
}

// Quality and exactness of the most exact range that matches: 2 the type itself, 1 its family, 0 any.
function exactest(kind, ranges) {
  const patterns = ["*/*", kind.split("/")[0] + "/*", kind];
  for (const exactness of [2, 1, 0]) {
    const matching = ranges.filter(([name]) => name === patterns[exactness]);
    if (matching.length > 0) return { exactness, quality: Math.max(...matching.map(([, ...parameters]) => q(parameters))) };
  }
  return { exactness: -1, quality: 0 };
}

function q(parameters) {
  const stated = parameters.map((parameter) => parameter.split("=").map((piece) => piece.trim())).find(([name]) => name === "q");
  if (stated === undefined) return 1;
  const value = stated[1] ? Number(stated[1]) : NaN;
  return Number.isNaN(value) ? 0 : Math.min(Math.max(value, 0), 1);
}

// Anything else: a file, or the page of a folder.
async function plain(parts, url, request, env) {
  if (parts.at(-1) === "") return object([...parts.slice(0, -1), "index.html"], request, env);
  const answer = await object(parts, request, env);
  if (answer.status !== 404 || parts.at(-1).includes(".")) return answer;
  const page = await bucket([...parts, "index.html"], { method: "HEAD" }, env);
  return page.ok ? redirect([...parts, ""], url.search) : answer;
}

// One object of the bucket, with its own type and caching rules. HEAD, ranges and conditions are the bucket's to answer.
async function object(key, request, env) {
  const headers = new Headers();
  for (const name of FORWARDED) if (request.headers.has(name)) headers.set(name, request.headers.get(name));
  const found = await bucket(key, { method: request.method, headers }, env);
  if (![200, 206, 304, 416].includes(found.status)) return refusal(found.status);
  const kept = new Headers();
  for (const name of RETURNED) if (found.headers.has(name)) kept.set(name, found.headers.get(name));
  const body = request.method === "HEAD" || found.status >= 300 ? null : found.body;
  return new Response(body, { status: found.status, headers: kept });
}

// Ask the bucket. Cloudflare keeps what it says as long as its Cache-Control allows, and an absence for a minute.
async function bucket(key, init, env) {
  const url = [env.ORIGIN.replace(/\/$/, ""), ...key.map(encodeURIComponent)].join("/"); // a plus must come as %2B
  const options = { redirect: "manual", cf: { cacheEverything: true, cacheTtlByStatus: { "400-499": 60, "500-599": -1 } } };
  if (!env.ACCESS_KEY_ID) return fetch(url, { ...init, ...options });
  const { ACCESS_KEY_ID: accessKeyId, SECRET_ACCESS_KEY: secretAccessKey, REGION: region } = env;
  const signer = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3" });
  return fetch(await signer.sign(url, init), options);
}

// Never 403: uv stops at it, and an installer goes on to its next index at 404 only. A broken bucket is no absence.
function refusal(status) {
  return status === 403 || status === 404 ? text(404, ABSENT) : text(502, `The bucket answered ${status}.\n`);
}

function redirect(parts, search) {
  return text(301, "", { Location: "/" + parts.map(encodeURIComponent).join("/").replaceAll("%40", "@") + search });
}

function text(status, body, more = {}) {
  return new Response(body, { status, headers: { "Content-Type": "text/plain; charset=utf-8", ...more } });
}
