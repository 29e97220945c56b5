import { WindlassError } from '../../errors.ts'
import { type HttpRequest, type HttpResponse, headerOf } from './http.ts'

/**
 * The next page of a list (RFC 8288, as the distribution-spec uses it: `<url>; rel="next"`), undefined after the last.
 * @throws WindlassError PROTOCOL if it is on another host, which is not the registry that was asked
 */
export function nextPage(response: HttpResponse, request: HttpRequest): URL | undefined {
  const link = /<([^>]+)>\s*;\s*rel="?next"?/.exec(headerOf(response, 'link') ?? '')?.[1]
  if (link === undefined) return undefined
  const url = URL.parse(link, response.url)
  if (url === null || url.origin !== response.url.origin)
    throw new WindlassError(
      'PROTOCOL',
      `${request.doing}: ${response.url.host} points to another host for the next page`,
    )
  return url
}
