import { createHash } from 'node:crypto'
import { type Html, html, Html as Markup, scriptJson } from './html.ts'
import { style } from './style.ts'
import { hatchPattern } from './timeline.ts'

/** Nothing is fetched, nothing runs; the one style is known by its hash, so that no string in the page can bring another. */
const policy = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; img-src data:; base-uri 'none'; form-action 'none'`

/** One page that needs nothing else: no script, no font, no request. */
export interface Document {
  readonly language: string
  readonly title: string
  readonly tone: 'good' | 'survived' | 'bad'
  readonly eyebrow: Html
  readonly headline: string
  readonly main: Html
  /** All that is behind it, as JSON in its last element. */
  readonly data: unknown
}

export function renderDocument({ language, title, tone, eyebrow, headline, main, data }: Document): string {
  const page = html`<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${new Markup(style)}</style>
</head>
<body>
${hatchPattern()}
<header class="${tone}">
<p class="eyebrow">${eyebrow}</p>
<h1>${headline}</h1>
</header>
<main>
${main}
</main>
<script type="application/json" id="windlass-report">${scriptJson(data)}</script>
</body>
</html>
`
  return page.toString()
}

export function facts(rows: readonly (readonly [string, Html | string | undefined])[]): Html {
  const known = rows.filter(([, value]) => value !== undefined)
  return html`<dl class="facts">${known.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}

export function formatDate(iso: string): string {
  return iso.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')
}
