//! The `OpenAPI` 3.1 document of this server, made from its list of routes, its problems and its statuses. Serves nothing by itself.

pub mod answers;
pub mod credentials;
pub mod dead_letters;
mod devices;
mod operations;
mod parts;
mod phones;
mod reading;
pub mod schemas;

use utoipa::openapi::Schema;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, Info, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, RefOr, Tag,
};
use utoipa::{PartialSchema, ToSchema};

use crate::http::problem::Kind;
use crate::http::routes::Route;

/// The document, with an operation for each route there is.
pub fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for route in Route::ALL {
        let (method, operation) = operation(route);
        paths = paths.path(route.path(), PathItem::new(method, operation));
    }
    let tag = |name: &str, description: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    };
    OpenApiBuilder::new()
        .info(info())
        .paths(paths.build())
        .components(Some(components()))
        .tags(Some([
            tag("events", "What driver apps and back offices post"),
            tag("phones", "What phone apps send, each in its own words"),
            tag("devices", "Whose phone a device is"),
            tag("picture", "The picture as it is now"),
            tag("live", "Viewports that follow the picture"),
            tag("credentials", "Keys and tickets, for admins"),
            tag("refused", "Events that were refused, kept as they came"),
            tag("running", "For those who run the server; needs no credential"),
        ]))
        .build()
}

fn operation(route: Route) -> (HttpMethod, Operation) {
    let (method, operation): (HttpMethod, OperationBuilder) = match route {
        Route::Events => (HttpMethod::Post, operations::events()),
        Route::Phone(app) => (HttpMethod::Post, phones::post(app)),
        Route::PhoneGet(app) => (HttpMethod::Get, phones::get(app)),
        Route::PhoneByKey(app) => (HttpMethod::Post, phones::with_key(phones::post(app), app, "post")),
        Route::PhoneGetByKey(app) => (HttpMethod::Get, phones::with_key(phones::get(app), app, "get")),
        Route::Devices => (HttpMethod::Get, devices::list()),
        Route::Device => (HttpMethod::Get, devices::get()),
        Route::PutDevice => (HttpMethod::Put, devices::put()),
        Route::DeleteDevice => (HttpMethod::Delete, devices::delete()),
        Route::Stream => (HttpMethod::Get, operations::stream()),
        Route::Deliveries => (HttpMethod::Get, reading::deliveries()),
        Route::Nearest => (HttpMethod::Get, reading::nearest()),
        Route::Delivery => (HttpMethod::Get, reading::delivery()),
        Route::Driver => (HttpMethod::Get, reading::driver()),
        Route::IngestStats => (HttpMethod::Get, reading::ingest_stats()),
        Route::DeadLetters => (HttpMethod::Get, dead_letters::list()),
        Route::Redrive => (HttpMethod::Post, dead_letters::redrive()),
        Route::DeadLetter => (HttpMethod::Get, dead_letters::show()),
        Route::RemoveDeadLetter => (HttpMethod::Delete, dead_letters::remove()),
        Route::Live => (HttpMethod::Get, operations::live()),
        Route::Session => (HttpMethod::Post, operations::session()),
        Route::Keys => (HttpMethod::Get, credentials::list()),
        Route::CreateKey => (HttpMethod::Post, credentials::create()),
        Route::RevokeKey => (HttpMethod::Delete, credentials::revoke()),
        Route::RotateKey => (HttpMethod::Post, credentials::rotate()),
        Route::Tickets => (HttpMethod::Post, credentials::ticket()),
        Route::RevokeToken => (HttpMethod::Post, credentials::revoke_token()),
        Route::Config => (HttpMethod::Get, operations::config()),
        Route::OpenApi => (HttpMethod::Get, operations::openapi()),
        Route::Metrics => (HttpMethod::Get, operations::metrics()),
        Route::Healthz => (HttpMethod::Get, operations::healthz()),
        Route::Readyz => (HttpMethod::Get, operations::readyz()),
    };
    (method, parts::ruled(operation, route.rule()).build())
}

fn info() -> Info {
    let anywhere = [Kind::NoSuchRoute, Kind::MethodNotAllowed, Kind::TooManyConnections, Kind::TooManyInFlight, Kind::Internal];
    let anywhere = anywhere.map(|kind| format!("{} `{}` ({})", kind.status().as_u16(), kind.code(), kind.means())).join("; ");
    let description = format!(
        "Real-time delivery tracking. Coordinates are degrees WGS 84, distances metres, speeds metres a second, headings degrees clockwise from true \
         north, times RFC 3339 in UTC. The tenant comes from the credential alone. What fails answers `application/problem+json` (RFC 9457) with a \
         stable `code`; a status of 429, 503 or 507 carries `Retry-After`. Fields are only ever added. Every answer names its request in \
         `X-Request-Id`: the id that the request brought, if it has at most 64 letters, digits and `-_.:`, else one that the server made. On any path \
         of the API: {anywhere}."
    );
    InfoBuilder::new()
        .title("Waypost")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(description))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build()
}

/// What is sent to us and may hold nothing that we do not know: a misspelt bound would else be no bound.
const CLOSED: [&str; 4] = ["NewKey", "NewTicket", "RedriveWanted", "RevokedToken"];

fn components() -> Components {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key (`waypost keys create`), a session token that a one-time ticket was traded for, or a JWT of an issuer that the server's settings \
             name (claims `tenant`, `role`, `drivers`, `deliveries`, `bbox`). Roles: `ingest` posts events, `dashboard` \
             reads and watches, `operator` also looks after the flow, `admin` does all and manages keys. The right that an operation asks for is its \
             `x-waypost-access`. A credential may be narrowed to drivers, deliveries and areas: what lies outside does not exist for it.",
        ))
        .build();
    let basic = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("For phone apps: the key is the password; the user name may name the phone."));
    let mut components = ComponentsBuilder::new()
        .security_scheme(parts::BEARER, SecurityScheme::Http(bearer))
        .security_scheme(parts::BASIC, SecurityScheme::Http(basic.build()));
    for (name, mut schema) in all_schemas() {
        if CLOSED.contains(&name.as_str())
            && let RefOr::T(Schema::Object(object)) = &mut schema
        {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        components = components.schema(name, schema);
    }
    components.build()
}

fn all_schemas() -> Vec<(String, RefOr<Schema>)> {
    fn with<T: ToSchema + PartialSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
        all.push((T::name().into_owned(), T::schema()));
        T::schemas(all);
    }
    let mut all = Vec::new();
    with::<credentials::NewKey>(&mut all);
    with::<credentials::NewTicket>(&mut all);
    with::<credentials::Ticket>(&mut all);
    with::<credentials::RevokedToken>(&mut all);
    with::<credentials::KeyPage>(&mut all);
    with::<schemas::Event>(&mut all);
    with::<schemas::EventBatch>(&mut all);
    with::<schemas::BatchResult>(&mut all);
    with::<schemas::FeatureCollection>(&mut all);
    with::<schemas::NearestCollection>(&mut all);
    with::<answers::Delivery>(&mut all);
    with::<answers::Driver>(&mut all);
    with::<answers::IngestStats>(&mut all);
    with::<dead_letters::DeadLetterPage>(&mut all);
    with::<dead_letters::DeadLetterShown>(&mut all);
    with::<dead_letters::RedriveWanted>(&mut all);
    with::<dead_letters::Redriven>(&mut all);
    with::<answers::Trade>(&mut all);
    with::<answers::Session>(&mut all);
    with::<answers::Settings>(&mut all);
    with::<answers::Readiness>(&mut all);
    with::<answers::Problem>(&mut all);
    with::<answers::DevicePage>(&mut all);
    with::<answers::DeviceOwner>(&mut all);
    with::<answers::Taken>(&mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::refusal::Code;

    #[test]
    fn every_problem_and_every_code_of_an_item_is_in_the_document() {
        let text = document().to_json().expect("JSON");
        for kind in Kind::ALL {
            assert!(text.contains(&format!("`{}`", kind.code())) || text.contains(&format!("\"{}\"", kind.code())), "{}", kind.code());
        }
        for code in Code::ALL {
            assert!(text.contains(code.as_str()), "{}", code.as_str());
        }
    }
}
