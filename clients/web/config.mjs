// Where the service is. The local stack serves this page from its own address; for another stack `make page` serves this file
// with the addresses of that one.

export const api = location.origin;
export const live = `${location.origin.replace(/^http/, "ws")}/live`;
